"""Faust's and aiokafka's insides are as the transport read them.

The transport replaces some of their methods and leans on others. None is a public interface, so an upgrade may change
any without a word. Each is pinned here by a hash of its source: when one differs, read the new text against what the
transport makes of it (the reason stands beside each), then put the new hash here.
"""

import hashlib
import importlib.metadata
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import aiokafka.consumer.consumer
import aiokafka.consumer.fetcher
import aiokafka.consumer.group_coordinator
import faust
import mode
import pytest
from faust.agents.manager import AgentManager
from faust.app.base import App, BootStrategy
from faust.tables.recovery import Recovery
from faust.topics import Topic
from faust.transport import base as transport_base
from faust.transport import consumer as stock
from faust.transport.drivers import aiokafka as driver
from faust.types.settings.settings import Settings
from mode.threads import ServiceThread

from streams import transport

# (what, why it matters here, source hash)
REPLACED: list[tuple[Callable[..., Any], str, str]] = [
    (stock.Consumer.getmany, "BatchConsumer.getmany yields one message for each batch", "e486c434b7928ee8"),
    (
        stock.Consumer._drain_messages,
        "BatchConsumer._drain_messages drops nothing by offset and adds no gaps",
        "8f35dd7a11144daa",
    ),
    (stock.Consumer.ack, "BatchConsumer.ack keeps no offsets", "5548cf0f75843f73"),
    (
        stock.Consumer.commit,
        "BatchConsumer.commit asks the stage; every commit of Faust's must come through it",
        "e43a7d03685f9206",
    ),
    (stock.Consumer.perform_seek, "BatchConsumer.perform_seek takes partitions over", "2b4ceebd23deb7ee"),
    (
        stock.Consumer.on_partitions_revoked,
        "BatchConsumer.on_partitions_revoked gives up first, then calls this",
        "652177e770ee66d6",
    ),
    (
        stock.Consumer.on_partitions_assigned,
        "BatchConsumer.on_partitions_assigned calls it first; it is called with nothing too",
        "c07feb1175f7dcf1",
    ),
    (stock.Consumer.on_buffer_full, "BatchConsumer.on_buffer_full must keep partitions active", "edcee17978c41d8d"),
    (stock.Consumer.on_buffer_drop, "BatchConsumer.on_buffer_drop has nothing to bring back", "c5f80b096c715169"),
    (
        driver.Consumer._to_message,
        "BatchConsumer._to_message builds the same message around a batch",
        "a2a5aefda42d9cd1",
    ),
    (driver.Consumer._new_consumer_thread, "BatchConsumer._new_consumer_thread makes ours", "8fd0d41b15145615"),
    (
        driver.AIOKafkaConsumerThread._create_worker_consumer,
        "BatchThread makes the client with its own settings",
        "c179c0bdb9755c3a",
    ),
    (driver.AIOKafkaConsumerThread.__post_init__, "BatchThread extends it", "21d9b9cc0d165197"),
    (driver.AIOKafkaConsumerThread.close, "BatchConsumer.close keeps it from being called", "8eadeb1981dbba93"),
    (stock.ConsumerThread.on_partitions_revoked, "BatchThread forgets its chains before it", "e10fd9e1e29f87b4"),
    (ServiceThread.stop, "BatchThread.stop closes a loop that no thread ran", "22d5a8dad369a585"),
    (App._new_transport, "StageApp._new_transport returns ours", "11beddacb9fee5b0"),
    (App.on_first_start, "StageApp.on_first_start makes no folders", "a87e1f3590af2c9d"),
    (App.on_stop, "StageApp.on_stop gives up partitions before it", "d8e7904b258c93f5"),
    (BootStrategy._should_enable_kafka_producer, "_Boot starts no producer", "8e1a809de52a960e"),
    (BootStrategy._should_enable_web, "_Boot starts no web server", "5b764f27df2bfc1d"),
]

RELIED_UPON: list[tuple[Callable[..., Any], str, str]] = [
    (
        stock.Fetcher._fetcher,
        "calls _drain_messages, and dies of a CancelledError while rebalancing",
        "64ea6297f5a08cd9",
    ),
    (stock.Consumer._commit_handler, "calls commit at the interval", "71024925b06f13eb"),
    (stock.Consumer.on_stop, "commits once more: closed by then", "7accc1bf4f9759a1"),
    (
        stock.Consumer.stop_flow,
        "flow_active and suspend_flow end what getmany and the drain are doing",
        "aa77389dc23a1981",
    ),
    (stock.Consumer.resume_flow, "can_resume_flow wakes getmany", "192f20bc377f5fec"),
    (
        driver.ConsumerRebalanceListener.on_partitions_assigned,
        "sets consumer_generation_id, which commits are bound to",
        "f8231db51dd545c6",
    ),
    (
        driver.ConsumerRebalanceListener.on_partitions_revoked,
        "awaits BatchThread.on_partitions_revoked",
        "cb4aa49e968a4a46",
    ),
    (
        App._on_partitions_revoked,
        "suspends flow and clears queues: batches on their way are dropped",
        "c1abd58dcb37f0a2",
    ),
    (App._on_partitions_assigned, "starts the recovery, which calls perform_seek", "c9c5485eb273837f"),
    (App._stop_consumer, "stops the fetcher; calls no commit of its own", "96573acf5f044586"),
    (Recovery._resume_streams, "calls perform_seek once per generation, then resumes the flow", "fbe0f747b84c0b27"),
    (Recovery._restart_recovery, "calls _resume_streams at once where there are no tables", "f93138b040ef1bc2"),
    (Recovery._wait, "cancels what it waits for when the group rebalances again", "768af810dce80586"),
    (AgentManager.stop, "cancels agents: after StageApp.on_stop, so not in the middle of a batch", "c521f945a4756712"),
    (Topic._compile_decode, "asks the schema for the value", "f30130922bceddf7"),
    (transport_base.Transport.create_consumer, "makes Transport.Consumer", "9eb4f22bbf3f8dc1"),
    (Settings._init_env_prefix, "env={} keeps the environment out", "1a32b7d544bedcb2"),
    (mode.Service.stop, "calls on_stop before it stops what the service consists of", "c7859eae93d25dee"),
    (
        aiokafka.consumer.fetcher.Fetcher.fetched_records,
        "drains synchronously once there is something; () means all",
        "e20ce0c8117f12d2",
    ),
    (aiokafka.consumer.fetcher.FetchResult.getall, "moves the position with the drain", "b638929de3431c67"),
    (
        aiokafka.consumer.fetcher.FetchResult.check_assignment,
        "throws away what was fetched before a seek",
        "2ffd6c1af9bc64df",
    ),
    (
        aiokafka.consumer.fetcher.Fetcher._proc_fetch_request,
        "makes MemoryRecords of what a fetch brought: streams.records.BoundedRecords takes its place",
        "ace04969424fc674",
    ),
    (
        aiokafka.consumer.fetcher.PartitionRecords._consumer_record,
        "asks of a record what streams.records gives",
        "56c3ee13f914a9d2",
    ),
    (
        aiokafka.consumer.fetcher.PartitionRecords._unpack_records,
        "next_fetch_offset is the end of the stretch; asks of a batch what streams.records gives",
        "047f7fc3f005c220",
    ),
    (
        aiokafka.consumer.consumer.AIOKafkaConsumer.seek,
        "moves the position at once; raises IllegalStateError",
        "fec4e1829687b7a8",
    ),
    (
        aiokafka.consumer.group_coordinator.GroupCoordinator._do_commit_offsets,
        "reads generation and member without an await before; takes metadata; does not use its first argument",
        "c1259c2b206806f0",
    ),
    (
        aiokafka.consumer.group_coordinator.GroupCoordinator.commit_offsets,
        "BatchThread._commit_positions does what it does, under one generation",
        "67fb44337ca73f7f",
    ),
    (
        aiokafka.consumer.group_coordinator.GroupCoordinator.fetch_committed_offsets,
        "returns offsets with metadata, leaves out partitions without",
        "c83e0cafbf1e78a4",
    ),
    (
        aiokafka.consumer.group_coordinator.GroupCoordinator._on_join_prepare,
        "gives up all partitions before the group is joined again, with heartbeats going on",
        "620a6bbc67252dde",
    ),
    (
        aiokafka.consumer.group_coordinator.GroupCoordinator._on_join_complete,
        "tells of the assignment before heartbeats start: nothing long may happen there",
        "186788a437c08195",
    ),
    (
        aiokafka.consumer.group_coordinator.GroupCoordinator.check_errors,
        "raises what ended the coordination",
        "c67ee34a37d994bd",
    ),
]


def source_hash(function: Callable[..., Any]) -> str:
    """Hash the text of a function; not its syntax tree, whose form follows the Python version."""
    source = inspect.getsource(inspect.unwrap(getattr(function, "fun", function)))
    return hashlib.sha256(textwrap.dedent(source).encode()).hexdigest()[:16]


def name_of(function: Callable[..., Any]) -> str:
    function = inspect.unwrap(getattr(function, "fun", function))
    return f"{function.__module__}.{function.__qualname__}"


@pytest.mark.parametrize(
    ("function", "why", "known"),
    [pytest.param(*entry, id=name_of(entry[0])) for entry in REPLACED + RELIED_UPON],
)
def test_the_source_is_the_one_that_was_read(function: Callable[..., Any], why: str, known: str) -> None:
    now = source_hash(function)
    assert now == known, (
        f"{name_of(function)} has changed. It matters to streams/transport.py because: {why}. Read it again, adapt the "
        f"transport where that no longer holds, run tests/integration/test_transport.py, then note {now!r} here."
    )


def test_the_versions_are_the_ones_that_were_read() -> None:
    assert importlib.metadata.version("faust-streaming") == "0.15.3"
    assert importlib.metadata.version("aiokafka").startswith("0.14.")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(getattr(ours, name), getattr(theirs, name), id=f"{ours.__name__}.{name}")
        for ours, theirs, names in [
            (
                transport.BatchConsumer,
                driver.Consumer,
                (
                    "getmany _drain_messages ack commit perform_seek on_partitions_assigned on_partitions_revoked "
                    "close on_buffer_full on_buffer_drop _to_message _new_consumer_thread"
                ),
            ),
            (
                transport.BatchThread,
                driver.AIOKafkaConsumerThread,
                "_create_worker_consumer on_partitions_revoked stop __post_init__",
            ),
            (transport.StageApp, faust.App, "_new_transport on_first_start on_stop"),
        ]
        for name in names.split()
    ],
)
def test_a_replacement_is_called_as_the_original_is(ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(theirs).parameters)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
    assert inspect.isasyncgenfunction(ours) == inspect.isasyncgenfunction(theirs)


def test_nothing_of_ours_hides_something_of_theirs_by_accident() -> None:
    """A name of ours that a base class comes to use as well would change what Faust does."""
    meant = {
        transport.BatchThread: {"__post_init__", "_create_worker_consumer", "on_partitions_revoked", "stop", "Worker"},
        transport.BatchConsumer: {"getmany", "_drain_messages", "ack", "commit", "perform_seek", "close", "__init__"}
        | {
            "on_partitions_assigned",
            "on_partitions_revoked",
            "on_buffer_full",
            "on_buffer_drop",
            "_to_message",
            "_new_consumer_thread",
        },
        transport.StageApp: {"BootStrategy", "__init__", "_new_transport", "on_first_start", "on_stop"},
    }
    always = {
        "__module__",
        "__doc__",
        "__annotations__",
        "__abstractmethods__",
        "_abc_impl",
        "abstract",
        "logger",
        "_thread",
    }
    for ours, known in meant.items():
        hidden = {name for name in vars(ours) if any(name in vars(base) for base in ours.__mro__[1:])}
        assert hidden - always == known, ours.__name__
