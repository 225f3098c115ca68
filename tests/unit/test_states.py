"""States: only the newest of each is told, and only to those who have not heard it."""

from agent.states import State, States, Subject


def count(number: int, *, camera: str = "door", class_name: str = "person") -> State:
    return State(Subject.COUNT, str(number).encode(), camera, class_name)


def test_a_newcomer_hears_the_newest_of_everything() -> None:
    states = States()
    for state in (count(1), count(0, class_name="car"), count(2), State(Subject.HEALTH, b"{}")):
        states.put(state)
    assert states.since(0)[1] == [count(0, class_name="car"), count(2), State(Subject.HEALTH, b"{}")]


def test_who_has_heard_all_hears_what_changed_and_nothing_twice() -> None:
    states = States()
    states.put(count(1))
    mark, _ = states.since(0)
    states.put(count(1))
    assert states.since(mark) == (mark, [])
    states.put(count(2))
    states.put(count(1, camera="yard"))
    mark, changed = states.since(mark)
    assert changed == [count(2), count(1, camera="yard")]
    assert states.since(mark)[1] == []
