"""Which candidate is measured next: one axis at a time, the most promising first, so that any stop finds a good one.

The full product of the axes would take hours. Instead each axis is tried around the best candidate so far (coordinate
ascent), in the order in which the axes usually pay:

1. the default: one graph instance of one thread a core, which beat one instance of several threads by 1.5 × with four
   clients. It is measured again every few candidates, because the others are compared with the run of it that is
   nearest in time;
2. precision: every graph of the bundle, which can be worth a factor of four, and can also lose;
3. the layout: instances × threads, all cores first, then half of them, which leaves room for preprocessing and clients;
4. batching: waiting up to 0.5 or 2 ms for company, with and without a batch of all that is in flight leaving at once;
5. preprocessing: fewer or more processes a modality;
6. spinning threads, where a candidate has several threads: the best one so far, else the best of those that have;
7. precision once more: the other graphs with the settings found, so that a precision is judged by them as well.

The candidates that came out best are then measured until each has three runs, because the best of many single runs
is partly luck, and so are those two by which each precision is judged. Last come other numbers of rows a request, with
the chosen settings: they are the clients' choice, and are shown to them. Every step is a function of what was measured
before it, so that a run that is resumed goes on as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from onepath.tuning.candidates import Candidate, Space
from onepath.tuning.choice import choose, fastest, is_within, rivals, score_of
from onepath.tuning.comparing import Summary, default_runs, noise, summaries
from onepath.tuning.journal import Entry
from onepath.tuning.settings import Goal

DEFAULT_EVERY = 3
"""The default is measured again after so many other candidates."""
_DEFAULT_AGE_S = 120.0
"""A run of the default that is older than this is not what a new candidate is compared with."""
_FINALISTS, _RUNS = 3, 3
_IN_THE_RUNNING = 0.9
"""Candidates of at least this share of the best score are measured again."""

Found = Mapping[Candidate, Summary]
Stage = Callable[[Space, Candidate, Found, Goal], Iterable[Candidate]]


def next_candidate(space: Space, entries: Sequence[Entry], goal: Goal) -> Candidate | None:
    """Return what to measure next, or None if there is nothing left that is worth it.

    Args:
        space: the values to try.
        entries: what was measured, in order.
        goal: what is best.
    """
    tried = [space.default]
    for stage in _STAGES:
        missing = _missing(tried, entries)
        if missing is not None:
            return missing
        # What is measured later on moves no earlier stage to another place.
        known = _until_all_were_measured(entries, tried)
        found = summaries(known, space.default)
        around = stage(space, _leader(space, known, goal), found, goal)
        tried += [candidate for candidate in dict.fromkeys(around) if candidate not in tried]
    return (
        _missing(tried, entries)
        or _finalist(space, entries, goal)
        or _rival(space, entries, goal)
        or _other_rows(space, entries, goal)
    )


def default_is_due(entries: Sequence[Entry], default: Candidate, now_s: float) -> bool:
    """Return whether the default has to be measured again before another candidate is.

    Args:
        entries: what was measured, in order.
        default: the default.
        now_s: the time, in seconds since 1970.
    """
    since = next((index for index, entry in enumerate(reversed(entries)) if entry.candidate == default), None)
    if since is None:
        return True
    last = entries[len(entries) - 1 - since]
    return last.figures is not None and (since >= DEFAULT_EVERY or now_s - last.at_s > _DEFAULT_AGE_S)


def default_is_due_at_the_end(entries: Sequence[Entry], default: Candidate) -> bool:
    """Return whether the default has to be measured again before anything is chosen.

    With one run of it nothing is known of the noise, and whatever ran in a quieter moment would be chosen.

    Args:
        entries: what was measured, in order.
        default: the default.
    """
    others = any(entry.candidate != default and entry.figures is not None for entry in entries)
    return others and len(default_runs(entries, default)) == 1


def _missing(tried: Iterable[Candidate], entries: Sequence[Entry]) -> Candidate | None:
    measured = {entry.candidate for entry in entries}
    return next((candidate for candidate in tried if candidate not in measured), None)


def _until_all_were_measured(entries: Sequence[Entry], tried: Iterable[Candidate]) -> Sequence[Entry]:
    order = [entry.candidate for entry in entries]
    return entries[: max(order.index(candidate) for candidate in tried) + 1]


def _leader(space: Space, entries: Sequence[Entry], goal: Goal) -> Candidate:
    found = list(summaries(entries, space.default).values())
    spread = noise(entries, space.default, goal)
    best = choose(found, space.default, goal, spread) or fastest(found, space.default, goal)
    return best.candidate if best is not None else space.default


def _graphs(space: Space, centre: Candidate, found: Found, _goal: Goal) -> Iterable[Candidate]:
    # A graph that did not run with some settings is not tried with others.
    failed = {
        (each.candidate.settings.precision, each.candidate.settings.engine) for each in found.values() if each.failure
    }
    return [centre.changed(precision=graph[0], engine=graph[1]) for graph in space.graphs if graph not in failed]


def _layouts(space: Space, centre: Candidate, _found: Found, _goal: Goal) -> Iterable[Candidate]:
    return [centre.changed(graph_instances=count, intra_op_threads=threads) for count, threads in space.layouts]


def _batchings(space: Space, centre: Candidate, _found: Found, _goal: Goal) -> Iterable[Candidate]:
    return [centre.changed(max_queue_delay_us=delay, preferred_batch_sizes=sizes) for delay, sizes in space.batchings]


def _preprocessing(space: Space, centre: Candidate, _found: Found, _goal: Goal) -> Iterable[Candidate]:
    return [centre.changed(preprocess_instances=count) for count in space.preprocess]


def _spinning(_space: Space, centre: Candidate, found: Found, goal: Goal) -> Iterable[Candidate]:
    if centre.settings.intra_op_threads > 1:
        return [centre.changed(allow_spinning=True)]
    threaded = [each for each in found.values() if each.figures and each.candidate.settings.intra_op_threads > 1]
    best = max(threaded, key=lambda summary: score_of(summary, goal), default=None)
    return [] if best is None else [best.candidate.changed(allow_spinning=True)]


_STAGES: tuple[Stage, ...] = (_graphs, _layouts, _batchings, _preprocessing, _spinning, _graphs)


def _finalist(space: Space, entries: Sequence[Entry], goal: Goal) -> Candidate | None:
    """Return the candidate near the best that was measured least often, if that is too seldom."""
    found = summaries(entries, space.default).values()
    within = [each for each in found if is_within(each, goal) and each.candidate.rows == space.default.rows]
    ranked = sorted(within, key=lambda summary: -score_of(summary, goal))[:_FINALISTS]
    near = [each for each in ranked if score_of(each, goal) >= _IN_THE_RUNNING * score_of(ranked[0], goal)]
    seldom = [each for each in near if each.runs < _RUNS]
    return min(seldom, key=lambda summary: summary.runs).candidate if seldom else None


def _rival(space: Space, entries: Sequence[Entry], goal: Goal) -> Candidate | None:
    """Return one of two candidates by which a precision is judged, if it was measured too seldom."""
    pairs = rivals(summaries(entries, space.default).values(), goal).values()
    return next((each.candidate for pair in pairs for each in pair if each.runs < _RUNS), None)


def _other_rows(space: Space, entries: Sequence[Entry], goal: Goal) -> Candidate | None:
    found = list(summaries(entries, space.default).values())
    chosen = choose(found, space.default, goal, noise(entries, space.default, goal))
    if chosen is None:
        return None
    return _missing((chosen.candidate.model_copy(update={"rows": rows}) for rows in space.rows), entries)
