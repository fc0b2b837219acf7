from hypothesis import settings

# Tests never assert on time, and a busy machine is slow.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
