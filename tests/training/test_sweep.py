import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from onepath.contract.errors import RecipeError
from onepath.training import SweepPlan, TrainingError, fit, only_modality, run_sweep, split_rows, sweep_from_file
from onepath.training.sweep_plan import trials_from_plan
from tests.training.small_data import QUICK, class_rows

SETTINGS = QUICK.model_dump(mode="json", exclude={"seed"})
PLAN = SweepPlan(
    name="rates", seeds=(0, 1), settings=SETTINGS, model={"bias": 0.0}, grid={"settings.learning_rate": [1e-3, 3e-2]}
)


class Builder:
    """Builds a linear model and its rows, and counts how often."""

    def __init__(self):
        self.calls = []

    def __call__(self, model, seed):
        self.calls.append((dict(model), seed))
        net = torch.nn.Linear(4, 3)
        torch.nn.init.constant_(net.bias, model["bias"])
        return net, split_rows(only_modality(class_rows(120), "a"), seed=seed)


def test_a_grid_spans_every_combination_upon_every_run():
    plan = SweepPlan(
        name="s",
        settings=SETTINGS,
        grid={"settings.learning_rate": [0.1, 0.2], "model.encoder.depth": [1, 2]},
        runs=[{"settings.epochs": 1}, {"settings.epochs": 2, "model.encoder.depth": 9}],
    )
    trials = trials_from_plan(plan)
    found = [(t.settings.epochs, t.settings.learning_rate, t.model["encoder"]["depth"]) for t in trials]
    assert found == [(epochs, rate, depth) for epochs in (1, 2) for rate in (0.1, 0.2) for depth in (1, 2)]
    assert trials[0].changes == {"settings.epochs": 1, "settings.learning_rate": 0.1, "model.encoder.depth": 1}


def test_equal_trials_are_run_once():
    assert len(trials_from_plan(PLAN.model_copy(update={"runs": [{}, {"model.bias": 0.0}]}))) == 2


def test_a_plan_without_choices_is_one_trial():
    assert len(trials_from_plan(SweepPlan(name="s"))) == 1


@pytest.mark.parametrize("field", ["settings", "model"])
def test_a_run_is_named_by_all_that_decides_it(field):
    (first,) = trials_from_plan(SweepPlan(name="s"))
    changed = {"settings": {"epochs": 7}, "model": {"depth": 7}}[field]
    (other,) = trials_from_plan(SweepPlan(name="s", **{field: changed}))
    assert len({first.digest(0), first.digest(1), other.digest(0)}) == 3


def test_all_problems_of_a_file_are_listed_with_their_paths(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "name: s\n"
        "settings: {epochs: 0, colour: red}\n"
        "grid:\n  settings.learning_rate: [0.1, -1]\n  settings.modality_dropout.image: [0.2, 3]\n"
    )
    with pytest.raises(RecipeError) as caught:
        sweep_from_file(path)
    assert {place for place, _ in caught.value.problems} == {
        "settings.epochs",
        "settings.modality_dropout",
        "settings.colour",
        "grid.settings.learning_rate.1",
    }
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("name: [", "", "not YAML"),
        ("- 1", "", "dictionary"),
        ("name: s\ngrid: {rate: [1]}", "grid.rate.[key]", "pattern"),
        ("name: s\ngrid: {settings.epochs: []}", "grid.settings.epochs", "at least 1"),
        ("name: s\nseeds: [1, 1]", "seeds", "twice"),
        ("name: s\nsettings: {seed: 1}", "settings.seed", "seeds"),
        ("name: s\ngrid: {settings.seed: [1, 2]}", "settings.seed", "seeds"),
        ("name: s\ngrid: {settings.metric: [auc, accuracy]}", "settings.metric", "cannot be compared"),
        ("name: s\ngrid: {settings.label_smoothing: [0, 0.1]}", "settings.label_smoothing", "metric 'loss'"),
        ("name: s\nmodel: {day: 2020-01-01}", "model", "JSON"),
        ("name: s\nmodel: {depth: 1, depth: 2}", "", "'depth' stands twice"),
        ("name: s\nmodel: {[a]: 1}", "", "not YAML"),
        ("name: s\nseeds: [18446744073709551616]", "seeds.0", "less than"),
        ("name: s\nmodel: {a: 1}\nruns: [{model.a.b: 2}]", "runs.0.model.a.b", "not a mapping"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(tmp_path, text, place, problem):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=problem) as caught:
        sweep_from_file(path)
    assert place in [where for where, _ in caught.value.problems]


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="cannot be read"):
        sweep_from_file(tmp_path / "none.yaml")


def test_the_trial_with_the_best_validation_is_chosen_and_it_alone_is_tested(tmp_path):
    result = run_sweep(PLAN, Builder(), tmp_path)
    means = [trial.validation.mean for trial in result.trials]
    assert result.chosen == 1 == int(np.argmax(means))
    assert result.trials[1].changes == {"settings.learning_rate": 3e-2}
    assert result.test.mean > 0.8
    assert len(list((tmp_path / "runs").glob("*.test.json"))) == 2  # one a seed
    assert len(list((tmp_path / "runs").glob("*.json"))) == 6


def test_the_lowest_loss_is_chosen_where_the_metric_is_the_loss(tmp_path):
    plan = PLAN.model_copy(update={"settings": {**SETTINGS, "metric": "loss"}, "seeds": (0,)})
    result = run_sweep(plan, Builder(), tmp_path)
    assert result.chosen == int(np.argmin([trial.validation.mean for trial in result.trials])) == 1
    assert result.test_metric == "accuracy"


def test_a_trial_gives_what_fitting_by_hand_gives(tmp_path):
    result = run_sweep(PLAN.model_copy(update={"seeds": (3,)}), Builder(), tmp_path)
    torch.manual_seed(3)
    model, splits = Builder()({"bias": 0.0}, 3)
    settings = QUICK.model_copy(update={"learning_rate": 3e-2, "seed": 3})
    history = fit(model, splits.train, splits.validation, settings)
    assert result.trials[1].validation.mean == history.best.validation
    accuracy = (model(splits.test.batch(torch.arange(18)).values["a"]).argmax(1) == splits.test.target).double().mean()
    assert result.test.mean == float(accuracy)


def test_mean_and_deviation_are_over_the_seeds(tmp_path):
    result = run_sweep(PLAN, Builder(), tmp_path)
    for trial in result.trials:
        assert trial.validation.mean == pytest.approx(np.mean(trial.validation.values))
        assert trial.validation.std == pytest.approx(np.std(trial.validation.values, ddof=1))
    assert len(set(result.trials[0].validation.values)) == 2


def test_finished_runs_are_not_repeated(tmp_path):
    first, again = Builder(), Builder()
    result = run_sweep(PLAN, first, tmp_path)
    assert run_sweep(PLAN, again, tmp_path) == result
    assert (len(first.calls), again.calls) == (6, [])


def test_an_interrupted_sweep_goes_on_where_it_was(tmp_path):
    class Failing(Builder):
        def __call__(self, model, seed):
            if len(self.calls) == 3:
                raise KeyboardInterrupt
            return super().__call__(model, seed)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(PLAN, Failing(), tmp_path)
    assert not (tmp_path / "sweep.json").exists()
    rest = Builder()
    resumed = run_sweep(PLAN, rest, tmp_path)
    assert len(rest.calls) == 3
    assert resumed == run_sweep(PLAN, Builder(), tmp_path / "afresh")


def test_the_results_are_written_as_json(tmp_path):
    result = run_sweep(PLAN, Builder(), tmp_path)
    assert json.loads((tmp_path / "sweep.json").read_text()) == json.loads(json.dumps(asdict(result)))
    assert not list(tmp_path.rglob(".*"))  # no temporary file is left


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"run": {}, "validation": 1.0}', '{"run": RUN}'])
def test_a_damaged_result_is_named(tmp_path, text):
    run_sweep(PLAN, Builder(), tmp_path)
    damaged = sorted((tmp_path / "runs").glob("*.json"))[0]
    run = json.dumps(json.loads(damaged.read_text())["run"])
    damaged.write_text(text.replace("RUN", run))
    with pytest.raises(TrainingError, match=damaged.name):
        run_sweep(PLAN, Builder(), tmp_path)


def test_all_problems_of_a_file_are_told_at_once(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("name: ''\nsettings: {epochs: 0}\nrates: [1]\n")
    with pytest.raises(RecipeError) as caught:
        sweep_from_file(path)
    assert {place for place, _ in caught.value.problems} == {"name", "rates", "settings.epochs"}


@pytest.mark.parametrize(
    ("text", "value"), [("1e-3", 1e-3), ("2E+2", 200.0), ("1.5e3", 1500.0), ("-4e2", -400.0), ("1", 1), ("e3", "e3")]
)
def test_numbers_are_read_as_yaml_1_2_has_them(tmp_path, text, value):
    path = tmp_path / "sweep.yaml"
    path.write_text(f"name: s\nmodel: {{value: {text}}}\n")
    found = sweep_from_file(path).model["value"]
    assert (found, type(found)) == (value, type(value))


DIVERGING = PLAN.model_copy(
    update={
        "settings": {**SETTINGS, "optimiser": "sgd"},
        "grid": {"settings.learning_rate": [1e38, 3e-2]},
    }
)


def test_a_trial_that_breaks_down_is_told_and_not_chosen(tmp_path):
    builder = Builder()
    result = run_sweep(DIVERGING, builder, tmp_path)
    broken, sound = result.trials
    assert result.chosen == 1
    assert broken.validation is None
    assert "became" in broken.failure
    assert (len(sound.validation.values), sound.failure) == (2, None)
    assert len(builder.calls) == 1 + 2 + 2  # the other seed of the broken trial is spared; the chosen one is tested
    assert json.loads((tmp_path / "sweep.json").read_text())["trials"][0]["failure"] == broken.failure
    again = Builder()
    assert run_sweep(DIVERGING, again, tmp_path) == result
    assert again.calls == []


def test_a_sweep_of_which_every_trial_breaks_down_is_refused(tmp_path):
    plan = DIVERGING.model_copy(update={"grid": {"settings.learning_rate": [1e38]}})
    with pytest.raises(TrainingError, match=r"sweep 'rates'.*every trial.*became"):
        run_sweep(plan, Builder(), tmp_path)
