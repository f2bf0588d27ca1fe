"""Streams of randomness: no two of a finding share a seed, but those that are said to."""

from itertools import combinations

import pytest
import torch

from superpos import seeds


def meeting(streams):
    """Pairs of streams of one finding that share a seed."""
    met = set()
    for (a, (start, length)), (b, (other, size)) in combinations(streams.items(), 2):
        if a.partition(".")[0] == b.partition(".")[0] and start < other + size and other < start + length:
            met.add((a, b))
    return met


def test_streams_of_a_finding_meet_only_where_it_is_said():
    assert meeting(seeds.STREAMS) == set(seeds.MEETING)


@pytest.mark.parametrize("pair", seeds.MEETING)
def test_those_said_to_meet_share_their_first_seeds(pair):
    a, b = pair
    assert [seeds.seed(a, k) for k in range(3)] == [seeds.seed(b, k) for k in range(3)]
    assert seeds.MEETING[pair]


@pytest.mark.parametrize("name", sorted(seeds.STREAMS))
def test_a_stream_moved_onto_another_of_its_finding_would_be_noticed(name):
    finding = name.partition(".")[0]
    others = [one for one in seeds.STREAMS if one != name and one.partition(".")[0] == finding]
    for other in others:
        start, length = seeds.STREAMS[other]
        moved = {**seeds.STREAMS, name: (start + length - 1, 1)}  # one seed in common
        pairs = [tuple(sorted(pair)) for pair in meeting(moved)]
        assert tuple(sorted((name, other))) in pairs


def test_a_seed_is_the_streams_start_and_its_number():
    assert seeds.seed("toy.rows", 0) == 10**9
    assert seeds.seed("toy.rows", 7) == 10**9 + 7
    drawn = [torch.rand(3, generator=seeds.generator("toy.rows", k)) for k in (7, 7, 8)]
    assert torch.equal(drawn[0], torch.rand(3, generator=torch.Generator().manual_seed(10**9 + 7)))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("k", [-1, 10**6])
def test_numbers_beyond_a_stream_are_refused(k):
    with pytest.raises(ValueError, match=f"stream planted.rows holds 1000000 seeds from 0 on, got number {k}"):
        seeds.seed("planted.rows", k)
    assert seeds.seed("planted.rows", 10**6 - 1) == 10**9 + 10**6 - 1


def test_every_stream_fits_a_generator_and_none_is_made_up():
    for name, (start, length) in seeds.STREAMS.items():
        assert 0 <= start < start + length < 2**63, name
    with pytest.raises(KeyError, match=r"toy\.colours"):
        seeds.seed("toy.colours", 0)
