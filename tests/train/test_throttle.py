from ssl_norm.train.throttle import Pace


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_first_picture_is_due_at_once_and_an_empty_one_never():
    pace = Pace(clock=Clock())
    assert not pace.is_due(0)
    assert pace.is_due(1)


def test_the_next_waits_until_drawing_has_had_its_share():
    clock = Clock()
    pace = Pace(share=0.01, clock=clock)
    with pace.drawing(1):
        clock.now = 0.5
    assert pace.drawn == 1
    clock.now = 49
    assert not pace.is_due(100)
    clock.now = 50
    assert pace.is_due(100)


def test_the_next_waits_until_the_record_is_a_tenth_longer():
    pace = Pace(clock=Clock())
    with pace.drawing(100):
        pass
    assert not pace.is_due(109)
    assert pace.is_due(111)
