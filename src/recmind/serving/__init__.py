"""Serving: from a run folder to recommendations.

Two ways. :class:`~recmind.serving.recommender.Recommender` reads a run and
answers in bulk, as the command ``recmind recommend`` does.
:class:`~recmind.serving.live.LiveRecommender` reads a *bundle*, which
``recmind export RUN --out BUNDLE`` makes, answers one request in milliseconds,
and takes new items, new interactions and deletions while it runs::

    export(run, bundle)                                         # serving.export
    live = LiveRecommender.open(bundle, store="changes.sqlite")
    live.recommend("alice", k=10)
    live.recommend("alice", k=10, text="for travel", options=Options(diversity=0.3))
    live.recommend_for_history(["i7", "i9"], k=10, options=Options(filters=Filters(brands=("Acme",))))
    live.recommend_for_text("quiet headphones for travel", k=10)
    live.similar_items("i7", k=10)
    live.explain("alice", "i12")
    live.add_items([{"item_id": "n1", "title": "a red kettle"}])
    live.add_interactions([("alice", "n1"), ("somebody new", "i7")])
    live.delete_item("i7"), live.delete_user("alice")
    live.close()

==============================  ==================================================================
:mod:`~.serving.export`         a run as a bundle, with its model card
:mod:`~.serving.bundle`         the folder: safetensors, Parquet and JSON, verified by hash
:mod:`~.serving.live`           :class:`~.live.LiveRecommender`: what a server holds; thread-safe
:mod:`~.serving.reader`         everything that can be asked of one moment; ``live.moment()`` holds one
:mod:`~.serving.options`        :class:`~.options.Options`, :class:`~.options.Filters`
:mod:`~.serving.answers`        what is returned: plain frozen dataclasses
:mod:`~.serving.state`          one moment of everything that changes, swapped whole
:mod:`~.serving.changing`       changes checked, and replayed from the store
:mod:`~.serving.lists`          a list for a taste
:mod:`~.serving.folding`        a user from a history, an item from a text: no training
:mod:`~.serving.reasons`        why this item: exact shares of a score
:mod:`~.serving.filtering`      which items a filter admits
:mod:`~.serving.diversity`      MMR
:mod:`~.serving.search`         the largest products of a query with the catalogue, exactly
:mod:`~.serving.index`          the same by faiss above a size, with measured recall
:mod:`~.serving.speech`         the bundle's language model: texts to language views
:mod:`~.serving.store`          SQLite: what changed after training, durable
==============================  ==================================================================

Errors: an unknown id is an :class:`~recmind.errors.UnknownIdError` (a server's
404), any other wrong input a :class:`~recmind.errors.DataError`, something
that the bundle's model cannot do a :class:`~recmind.errors.ConfigError`, a
damaged bundle or store a :class:`~recmind.errors.BundleError`.
"""
