"""A shop of any size, generated: products in prose, customers with tastes, reviews.

It is what ``recmind demo`` runs on, and a source of data with known structure
for tests and benchmarks. Nothing in it is copied from anywhere.

How it is made
--------------
Each product i has a kind, a theme (such as *sustainable*), a facet (material,
flavour, scent ...), a purpose, a brand and a price, which its texts tell, each
text in its own words; and a look, a vector near one of a few centres, which no
text tells. Each customer u has tastes for all of them. At time t the customer

1. picks a kind k with probability ∝ taste_u(k) · season(k, t);
2. sees C products of this kind that are in the shop by then: three quarters
   drawn by exposure, which is Zipf-distributed, the rest new arrivals;
3. buys the one of the greatest utility

       U(u, i) = a · v(u, i) + b · w(u, i) + ε(u, i),   ε ~ Gumbel(0, 1)

   where v(u, i) sums the tastes for the theme, facet, purpose, brand and price
   of i, and w(u, i) = <look_u, look_i>. v and w have mean 0 and
   variance 1 over all pairs, and a = b by default: neither view is favoured.

So P(i | u, seen) ∝ exp(a v + b w). Texts alone cannot know w, only
who bought what tells it; who bought what says little of rare products and
nothing of new ones, whose v is in their texts. The reviews follow from v and w
too: stars from a v + b w and noise, words from what the customer cares for.
A share of the products came last and has not been bought; another has no
description, or no text at all; some rows repeat and some texts hold HTML.
"""

from recmind.data.shop.raw import RawFiles, write_raw
from recmind.data.shop.settings import ShopConfig
from recmind.data.shop.shop import Shop, generate_shop

__all__ = ["RawFiles", "Shop", "ShopConfig", "generate_shop", "write_raw"]
