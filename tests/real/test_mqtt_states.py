"""States on their topics, and what Home Assistant is told of them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real import broker as world
from real.broker import Broker, Subscriber, wait_until
from real.mqtt_sinks import (
    AVAILABLE,
    Sinks,
    count,
    deliveries,
    health,
    network_threads,
    received,
    status,
)

from agent.errors import SinkUnavailable
from agent.flow import Outcome
from agent.ports import Board

pytestmark = pytest.mark.skipif(bool(world.MISSING), reason=world.REASON)
HEALTH = "vedette/porch/health"
DISCOVERY = "homeassistant/device/vedette_porch/config"
BIRTH = "homeassistant/status"


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "plain").start()
    yield broker
    broker.stop()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Sinks]:
    with Sinks(tmp_path) as sinks:
        yield sinks


def shown(subscriber: Subscriber) -> dict[str, str]:
    return {message.topic: message.text for message in subscriber.messages() if message.topic != AVAILABLE}


# States


def test_states_are_retained_each_on_its_topic(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    assert isinstance(sink, Board)
    sink.open()
    sink.show([health(fps=9.8), status("door"), count("door", "person", 2), count("door", "traffic light", 0)])
    with plain.subscribe("vedette/#") as late:
        wait_until(lambda: len(shown(late)) == 4, "four states")
        assert shown(late) == {
            HEALTH: '{"schema": "vedette.health/1", "fps": 9.8}',
            "vedette/porch/door/status": "online",
            "vedette/porch/door/person": "2",
            "vedette/porch/door/traffic light": "0",
        }
        assert all(message.retained and message.qos == 1 for message in late.messages())


def test_a_class_has_a_topic_that_nothing_else_has(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    sink.open()
    sink.show([count("door", name, 1) for name in ("results", "events", "status", "a/b+c#", "person")])
    with plain.subscribe("vedette/porch/door/#") as late:
        wait_until(lambda: len(late.messages()) >= 5, "five counts")
        ends = {message.topic.removeprefix("vedette/porch/door/") for message in late.messages()}
        assert ends == {"results_", "events_", "status_", "a_b_c_", "person"}


def test_the_newest_of_a_state_takes_the_place_of_the_one_before(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    sink.open()
    sink.show([count("door", "person", 1), status("door"), count("door", "person", 5)])
    sink.show([count("door", "person", 3)])
    sink.show([])
    with plain.subscribe("vedette/porch/door/#") as late:
        wait_until(lambda: len(late.messages()) == 2, "two states")
        assert shown(late) == {"vedette/porch/door/person": "3", "vedette/porch/door/status": "online"}


def test_states_are_there_again_after_a_broker_without_memory_was_restarted(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port)
    sink.open()
    sink.show([status("door"), health()])
    plain.kill()
    plain.start()
    wait_until(lambda: network_threads() == [], "the connection to end")
    with pytest.raises(SinkUnavailable, match="the connection to"):
        sink.show([status("door", "offline")])
    sink.close()
    sink.open()
    sink.show([status("door", "offline"), health()])
    with plain.subscribe("vedette/#") as late:
        wait_until(lambda: len(late.messages()) == 3, "all three")
        assert shown(late) == {"vedette/porch/door/status": "offline", HEALTH: '{"schema": "vedette.health/1"}'}
        assert late.texts(AVAILABLE) == ["online"]


def test_states_share_the_wire_with_results_that_wait_there(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port, ack_timeout_s=0.5, in_flight=4)
    batch = deliveries(6)
    with plain.subscribe("vedette/porch/door/results") as subscriber:
        sink.open()
        assert sink.send(batch[:1]) == [Outcome.ACCEPTED]
        plain.suspend()
        with pytest.raises(SinkUnavailable, match="did not answer within"):
            sink.send(batch[1:])
        plain.resume()
        sink.show([count("door", "person", number) for number in range(3)])
        assert sink.send(batch[1:]) == [Outcome.ACCEPTED] * 5
        wait_until(lambda: len(received(subscriber)) >= 6, "six results")
        assert received(subscriber) == [delivery.id for delivery in batch]


def test_a_broker_that_falls_silent_while_states_are_shown_is_unavailable(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port, ack_timeout_s=0.3)
    sink.open()
    plain.suspend()
    with pytest.raises(SinkUnavailable, match=r"did not answer within 0\.3 s"):
        sink.show([status("door")])
    plain.resume()


def test_states_that_are_denied_or_too_large_are_said_once_and_results_go_on(
    tmp_path: Path, make: Sinks, caplog: pytest.LogCaptureFixture
) -> None:
    access = (
        "topic write vedette/porch/available\ntopic write vedette/porch/+/results\ntopic write vedette/porch/health\n"
    )
    broker = Broker(tmp_path / "acl", access=access, settings=("max_packet_size 2000",)).start()
    try:
        sink = make(broker.port)
        sink.open()
        for _ in range(3):
            sink.show([status("door"), health(more="x" * 3000)])
            assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    finally:
        broker.stop()
    assert caplog.text.count("does not let this user publish on vedette/porch/door/status") == 1
    assert caplog.text.count("a message on vedette/porch/health is larger than") == 1


def test_states_can_be_switched_off(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port, states=False)
    with plain.subscribe("vedette/#") as subscriber:
        sink.open()
        sink.show([health(), status("door")])
        assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
        wait_until(lambda: len(received(subscriber)) == 1, "the result")
        assert len(subscriber.messages()) == 2
        assert subscriber.texts(AVAILABLE) == ["online"]


# Home Assistant


@pytest.fixture
def house(plain: Broker) -> Iterator[Subscriber]:
    with plain.subscribe("homeassistant/device/#") as subscriber:
        yield subscriber


def told(house: Subscriber, times: int) -> dict[str, Any]:
    """The newest discovery message of so many."""
    wait_until(lambda: len(house.on(DISCOVERY)) >= times, f"{times} discovery messages")
    assert len(house.on(DISCOVERY)) == times
    body = json.loads(house.on(DISCOVERY)[-1].text)
    assert isinstance(body, dict)
    return body


def test_a_device_is_discovered_with_its_cameras_and_classes(plain: Broker, make: Sinks, house: Subscriber) -> None:
    sink = make(plain.port, home_assistant={})
    sink.open()
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    sink.show([health(), status("door"), status("yard"), count("door", "person", 1)])
    body = told(house, 1)
    assert body["device"]["identifiers"] == ["vedette_porch"]
    assert body["origin"]["name"] == "vedette"
    assert set(body["components"]) == {
        "connectivity",
        "outbox_waiting",
        *(f"{camera}-{what}" for camera in ("door", "yard") for what in ("connectivity", "fps", "route", "latency")),
        "door-person-count",
        "door-person-occupancy",
    }
    with plain.subscribe("homeassistant/#") as late:
        wait_until(lambda: late.messages() != [], "retained discovery")
        assert late.messages()[0].retained


def test_an_entity_is_there_while_agent_and_camera_are(plain: Broker, make: Sinks, house: Subscriber) -> None:
    sink = make(plain.port, home_assistant={}, topic_prefix="site/7")
    sink.open()
    sink.show([count("door", "person", 1)])
    entities = told(house, 1)["components"]
    occupancy = entities["door-person-occupancy"]
    assert occupancy["platform"] == "binary_sensor"
    assert occupancy["device_class"] == "occupancy"
    assert occupancy["state_topic"] == "site/7/door/person"
    assert [each["topic"] for each in occupancy["availability"]] == ["site/7/available", "site/7/door/status"]
    assert occupancy["availability_mode"] == "all"
    assert "availability" not in entities["connectivity"]
    assert "entity_category" not in occupancy


def test_diagnostics_are_marked_and_rates_expire(plain: Broker, make: Sinks, house: Subscriber) -> None:
    sink = make(plain.port, home_assistant={})
    sink.open()
    sink.show([status("door")])
    entities = told(house, 1)["components"]
    for key in ("door-fps", "door-route", "door-latency", "outbox_waiting"):
        assert entities[key]["entity_category"] == "diagnostic"
        assert entities[key]["expire_after"] > 30
        assert entities[key]["state_topic"] == HEALTH
    assert entities["door-fps"]["value_template"] == "{{ value_json.cameras.get(\"door\", {}).get('fps') }}"
    assert entities["door-connectivity"]["payload_on"] == "online"


def test_every_id_is_unique_and_has_letters_that_home_assistant_allows(
    plain: Broker, make: Sinks, house: Subscriber
) -> None:
    sink = make(plain.port, home_assistant={})
    sink.open()
    names = ["a b", "a_b", "a-b", "ä", "a/b", 'a"b']
    sink.show([count(camera, name, 1) for camera in names for name in names])
    entities = told(house, 1)["components"]
    assert len(entities) == 2 + 4 * 6 + 2 * 36
    ids = {entity["unique_id"] for entity in entities.values()}
    assert len(ids) == len(entities)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", each) for each in [*ids, *entities])


def test_discovery_is_sent_again_when_there_is_a_new_camera_or_class_and_only_then(
    plain: Broker, make: Sinks, house: Subscriber
) -> None:
    sink = make(plain.port, home_assistant={})
    sink.open()
    sink.show([status("door")])
    sink.show([status("door", "offline"), health()])
    assert "door-cat-count" not in told(house, 1)["components"]
    sink.show([count("door", "cat", 1)])
    assert "door-cat-count" in told(house, 2)["components"]
    sink.show([count("door", "cat", 0)])
    sink.show([status("yard")])
    assert "yard-fps" in told(house, 3)["components"]
    sink.close()
    sink.open()
    sink.show([status("yard")])
    assert {"yard-fps", "door-cat-count"} <= set(told(house, 4)["components"])


def test_discovery_is_sent_again_within_seconds_after_home_assistant_was_started(
    plain: Broker, make: Sinks, house: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sinks._mqtt_announcer._SPREAD_S", 0.2)
    sink = make(plain.port, home_assistant={})
    sink.open()
    sink.show([status("door")])
    told(house, 1)
    await_subscription(plain)
    plain.publish(BIRTH, "offline")
    plain.publish(BIRTH, "online")
    wait_until(lambda: sink.send([]) == [] and len(house.on(DISCOVERY)) == 2, "discovery once more")
    assert "door-fps" in told(house, 2)["components"]
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    told(house, 2)


def test_a_birth_that_was_retained_before_we_came_changes_nothing(
    plain: Broker, make: Sinks, house: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sinks._mqtt_announcer._SPREAD_S", 0.0)
    plain.publish(BIRTH, "online", retained=True)
    sink = make(plain.port, home_assistant={})
    sink.open()
    sink.show([status("door")])
    wait_until(lambda: f"Sending PUBLISH to vedette-porch (d0, q1, r1, m1, '{BIRTH}'" in plain.log(), "the old birth")
    assert sink.send(deliveries(1)) == [Outcome.ACCEPTED]
    assert sink.send([]) == []
    told(house, 1)


def test_other_discovery_and_birth_topics_can_be_set(plain: Broker, make: Sinks) -> None:
    sink = make(plain.port, home_assistant={"discovery_prefix": "ha/disco", "birth_topic": "ha/born"})
    with plain.subscribe("ha/#") as subscriber:
        sink.open()
        sink.show([])
        wait_until(lambda: subscriber.messages() != [], "discovery")
        assert subscriber.messages()[0].topic == "ha/disco/device/vedette_porch/config"
        await_subscription(plain, "ha/born")


def test_without_the_section_nothing_is_said_to_home_assistant(plain: Broker, make: Sinks, house: Subscriber) -> None:
    sink = make(plain.port)
    with plain.subscribe("vedette/#") as subscriber:
        sink.open()
        sink.show([status("door")])
        wait_until(lambda: len(subscriber.messages()) == 2, "the status")
    assert house.messages() == []
    assert BIRTH not in plain.log()


def await_subscription(plain: Broker, topic: str = BIRTH) -> None:
    wait_until(lambda: f"vedette-porch 1 {topic}" in plain.log(), "the subscription to births")
