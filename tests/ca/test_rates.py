from certwatch.ca.rates import Bucket, Buckets


def test_a_bucket_gives_what_has_come_in_and_no_more() -> None:
    now = [0.0]
    bucket = Bucket(2.0, 3, clock=lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 1.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]
    now[0] = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


def test_each_who_asks_has_a_bucket_and_the_longest_unseen_is_forgotten() -> None:
    buckets = Buckets(0.0, 1, most=2, clock=lambda: 0.0)
    assert buckets.take("a")
    assert not buckets.take("a")
    assert buckets.take("b")
    assert buckets.take("c")  # "a" is forgotten
    assert buckets.take("a")
    assert not buckets.take("c")
