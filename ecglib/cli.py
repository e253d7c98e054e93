"""The command `ecglib`.

Heavy modules (torch, mlflow, papermill) are imported by the commands that need them, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
import yaml
from rich.console import Console
from rich.table import Table

from ecglib import aami, config, files, paths
from ecglib.errors import RecordError, UserError, named, some
from ecglib.experiment import record as results

if TYPE_CHECKING:
    from ecglib.data import databases
    from ecglib.data.fetch import Progress
    from ecglib.finetune import Finetuned
    from ecglib.report.runner import Job

FETCH_SECONDS = 600.0
"""How long `ecglib book` waits for a database; what came by then is gone on from the next time."""
SHOW_SECONDS = 10.0
"""Between two lines about a download where stderr is no terminal."""

app = typer.Typer(
    name="ecglib",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Heartbeat classification that rebuilds its own results book.

An *experiment* is a file `params/<notebook>/<experiment>.yaml`. Running it executes its notebook, which trains and
tests a network (or finds the run that did), and makes its page of the book.

- `ecglib run heartbeat/baseline`: one experiment, quick profile
- `ecglib run --all --missing --profile full -j 2`: the reference results that are not there yet
- `ecglib book`: everything that changed, then the book
- `ecglib book --check`: is the book sound?
- `ecglib finetune twelve-lead/crnn --records DIR --labels CSV`: a recorded network taught on with your own recordings
- `ecglib data status`: which databases are here

Data lies in `ECGLIB_DATA` (default `data/`), one folder a database.
""",
)
data_app = typer.Typer(no_args_is_help=True, help="Databases: which are here, fetch one, count its beats.")
app.add_typer(data_app, name="data")

ModelOption = Annotated[str, typer.Option(help="A run, a model's folder or name, or models:/NAME@ALIAS.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Profile = Annotated[
    str, typer.Option(help="How much is run: smoke (seconds), quick (minutes), full (reference results).")
]


def main() -> None:
    """Entry point: a user's mistake ends in one line and exit code 2, without a traceback."""
    try:
        app(args=_joined(sys.argv[1:]))
    except UserError as error:
        _end(str(error))
    except OSError as error:
        if error.errno is None:
            raise
        what = "no permission" if isinstance(error, PermissionError) else error.strerror
        _end(f"{error.filename or 'disk'}: {what}")


def _end(*errors: str) -> NoReturn:
    for error in errors:
        print(f"error: {error}", file=sys.stderr, flush=True)
    raise SystemExit(2)


def _joined(arguments: list[str]) -> list[str]:
    """Turn papermill's `-p KEY VALUE` into `-p KEY=VALUE`, the one form that the option parser knows."""
    joined: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        joined.append(argument)
        if argument == "-p":
            key = next(rest, "")
            joined.append(key if "=" in key else f"{key}={next(rest, '')}")
    return joined


# --- run --------------------------------------------------------------------------------------------------------------


@app.command()
def run(
    experiments: Annotated[list[str] | None, typer.Argument(help="Such as `heartbeat/baseline`.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every experiment.")] = False,
    profile: Profile = "quick",
    seed: Annotated[list[int] | None, typer.Option(help="Seeds in place of the profile's; may be repeated.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("-p", metavar="KEY VALUE", help="Override a parameter; may be repeated.")
    ] = None,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only those without a result (full: a reference).")
    ] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only those whose result no longer fits code or data.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train again even if the run is there.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option("-j", min=1, help="Notebooks at once, which share the processors evenly; 1, on Ray more."),
    ] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Processes of this machine, or Ray.")] = "local",
    address: Annotated[str, typer.Option(help="Of Ray's cluster, in place of RAY_ADDRESS.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the executed notebooks instead of the book's.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the experiments and stop.")] = False,
) -> None:
    """Run experiments: train, test, record, and make their pages."""
    if list_ and not (all_ or experiments):
        print("\n".join(config.experiments()))
        return
    if not experiments and not all_:
        expected = "--all, or names such as heartbeat/baseline"
        raise UserError("run", "no experiment given", expected, "ecglib run --list prints the names")
    if experiments and all_:
        raise UserError("run", "both names and --all given", "one of them")
    from ecglib.report import runner

    overrides = _overrides(parameter or []) | ({"seeds": list(seed)} if seed else {})
    names = config.experiments() if all_ else list(dict.fromkeys(experiments or []))  # one given twice is run once
    fitting = {name: _fitting(name, overrides) if all_ else overrides for name in names}
    chosen = [config.load(name, profile=profile, overrides=fitting[name]) for name in names]
    chosen = _selected(_possible(chosen, list_)[0] if all_ else chosen, missing, stale, list_)
    if list_:
        return
    _say_what_is_not_found()
    if not chosen:
        print("nothing to run")
        return
    ordered = [runner.Job(p, out.resolve() / f"{p.experiment}.ipynb" if out else None, fresh) for p in chosen]
    failed = _run(ordered, jobs, engine, address)
    for job in ordered:
        if job not in failed:
            print(job.target or paths.executed(job.name))
    if failed:
        _end(*(str(job.error) for job in failed))


def _selected(
    chosen: list[config.SharedParameters], missing: bool, stale: bool, listed: bool
) -> list[config.SharedParameters]:
    """Those without a result, and those whose result no longer holds, which is printed; all where neither is asked."""
    selected = []
    for p in chosen:
        why = _why_stale(p, listed) if stale else []
        if why or (missing and _is_missing(p)) or not (missing or stale):
            selected.append(p)
            if why:
                print(f"{p.experiment}: {'; '.join(why)}")
            elif listed:
                print(p.experiment)
    return selected


@app.command(hidden=True)
def execute(order: str) -> None:
    """Run one notebook; started by `run` for each, in a process of its own."""
    from ecglib.report import book

    values = json.loads(order)
    files.end_with(values["parent"])
    name = values["parameters"]["experiment"]
    parameters = config.check(name.split("/")[0], values["parameters"], name)
    target = Path(values["target"]) if values["target"] else None
    try:
        book.execute(parameters, target=target, fresh=values["fresh"])
    except (UserError, OSError):
        raise
    except Exception as error:  # `run` shows one line, so it must be the first of the message and not the last
        raise UserError(name, book.in_a_line(type(error).__name__, str(error))) from error


def _overrides(pairs: list[str]) -> dict[str, Any]:
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key or not equals:
            raise UserError("-p", f"found {pair!r}", "-p KEY VALUE")
        try:
            values[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise UserError("-p", f"{key}: {text!r} is no YAML value") from None
    return values


def _fitting(name: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """With --all, an override reaches the experiments that have the parameter."""
    for key in overrides:
        if not any(key in model.model_fields for model in config.MODELS.values()):
            raise UserError("-p", f"no experiment has a parameter {key}")
    fields = config.MODELS[name.split("/")[0]].model_fields
    return {key: value for key, value in overrides.items() if key in fields}


def _possible(
    chosen: list[config.SharedParameters], silent: bool = False
) -> tuple[list[config.SharedParameters], set[tuple[str, str]]]:
    """Without the experiments whose database can't be had, neither whole nor as a sample; it is said why, unless
    silent. Also which of the databases asked for are there as samples alone."""
    absent, samples = set(), set()
    for asked in sorted({one for p in chosen for one in _asked(p)}):
        try:
            samples |= {asked} if _source(*asked).sample else set()
        except UserError as error:
            absent.add(asked)
            few = [p.experiment for p in chosen if asked in _asked(p)]
            if not silent:
                print(f"left out {len(few)} experiments ({few[0]} …): {error}")
    return [p for p in chosen if absent.isdisjoint(_asked(p))], samples


def _asked(p: config.SharedParameters) -> list[tuple[str, str]]:
    """The databases that an experiment rests on, and the annotator that it asks of them."""
    return [(name, getattr(p, "annotator", "")) for name in p.databases]


def _source(name: str, annotator: str) -> databases.Source:
    """A database, or a folder or a table in its place."""
    from ecglib.data import databases, delta

    if path := config.table_of(name):
        return databases.Source(name, delta.Table(path).where, False, ())
    return databases.get(name) if name in databases.DATABASES else databases.annotated(name, annotator)


def _is_missing(parameters: config.SharedParameters) -> bool:
    from ecglib.report import book

    if parameters.profile == "full" and isinstance(parameters, config.TrainedParameters):
        return results.reference(parameters.experiment) is None
    return not book.has_page(parameters.experiment)


def _why_stale(parameters: config.SharedParameters, told: bool) -> list[str]:
    """Why a result no longer holds: in full, or where it is only told, the reference result; else the page."""
    from ecglib.experiment import recipes, verify
    from ecglib.report import book

    if isinstance(parameters, recipes.Trained) and (told or parameters.profile == "full"):
        full, reference = config.load(parameters.experiment, profile="full"), results.reference(parameters.experiment)
        assert isinstance(full, recipes.Trained)
        said = verify.stale(full, reference) if reference is not None else []
        if said or parameters.profile == "full":
            return said
    stale = book.has_page(parameters.experiment) and not book.is_current(parameters)
    return ["its page was made of other code, data or parameters"] if stale else []


def _say_what_is_not_found() -> None:
    """Say once how many runs an earlier version left that are not found any more."""
    from ecglib.experiment import driver

    told = paths.runs() / "old-layout-told"
    if not told.is_file() and (n := driver.of_old_layout()):
        print(f"{n} runs in {paths.runs()} are of an earlier version and are not found any more; delete them freely")
        told.touch()


def _run(jobs: list[Job], at_once: int | None, engine: str = "local", address: str = "") -> list[Job]:
    """Run the notebooks; those that failed. None starts where one of them wants a device that isn't here (on Ray, it
    fails there). It says on stderr what the runs did not resume or track, left out, repaired or assumed, and why they
    are no reference results; once where several did the same."""
    from ecglib.experiment import told
    from ecglib.report import book, runner

    for job in jobs if engine == "local" else ():
        config.check_device(job.parameters)
    book.make_notebooks()
    failed = runner.run_on_ray(jobs, at_once, address) if engine == "ray" else runner.run(jobs, at_once or 1)
    said: dict[str, dict[str, None]] = {}
    for job in jobs:
        of_runs = [line for folder in job.runs for line in told.of_run(results.load(folder / "record.json"))]
        for line in [*job.said, *of_runs]:
            said.setdefault(line, {})[job.name] = None
    for line, names in said.items():
        print(f"{some(list(names))}: {line}" if len(jobs) > 1 else line, file=sys.stderr)
    return failed


@app.command()
def tune(
    search: Annotated[str, typer.Argument(help="`tuning/cnn`, a file of that kind, or a sweep of Weights & Biases.")],
    profile: Profile = "quick",
    base: Annotated[str | None, typer.Option(help="The experiment to search, which a sweep does not name.")] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Processes of this machine, or Ray.")] = "local",
    address: Annotated[str, typer.Option(help="Of Ray's cluster, in place of RAY_ADDRESS.")] = "",
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in place of the file's.")] = None,
    budget: Annotated[str | None, typer.Option(help="Time after which no trial begins, such as 40m.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the search that was begun.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw away the search that was begun.")] = False,
    wandb: Annotated[str, typer.Option(help="Project of Weights & Biases that trials are logged to.")] = "",
) -> None:
    """Search for better parameters of an experiment, on validation alone.

    It writes `book/searches/NAME.json` and the experiment of the best parameters, which `ecglib run` then trains in
    full and tests.
    """
    from ecglib import tuning

    given = {"trials": trials, "budget": budget, "base": base}
    overrides = {name: value for name, value in given.items() if value is not None}
    asked = tuning.load(search, profile=profile, overrides=overrides)
    found = tuning.run(asked, engine, resume=resume, fresh=fresh, address=address, wandb=wandb)
    was, best = ([f"{one['value']:.4f}" for one in found["confirmed"][name]] for name in ("base", "best"))
    print(f"best of {sum(found['states'].values())} trials: {found['best']['value']:.4f} on validation")
    for name, value in found["best"]["drawn"].items():
        print(f"  {name}: {value}")
    print(f"under other seeds: {', '.join(best)}; as it was: {', '.join(was)}")
    print(f"next: ecglib run {found['tuned']} --profile full")


@app.command()
def verify(
    experiments: Annotated[list[str] | None, typer.Argument(help="Such as `heartbeat/baseline`.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every reference result.")] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="Where a recipe was raised: train with the old code too, and take it over.")
    ] = False,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"] | None, typer.Option(help="To train in instead of the record's.")
    ] = None,
) -> None:
    """Cut and train again, two epochs of the first seed, and compare with the reference results.

    What was found is written into the records. With --renew, a record takes over today's recipe where the code of its
    own recipe and today's train alike.
    """
    from ecglib.experiment import verify as verifying
    from ecglib.report import tables

    if bool(experiments) == all_:
        raise UserError("verify", "both names and --all given" if all_ else "no experiment given", "names, or --all")
    failed = False
    for name in experiments or list(results.references()):
        try:
            if renew:
                print(f"{name}: {'; '.join(verifying.renew(name)) or 'its recipe is that of today'}", flush=True)
                continue
            found = verifying.verify(name, precision)
            print(f"{name}: {tables.verified(found)}", flush=True)
            if not found["holds"]:
                raise UserError(name, "does not come out as recorded")
        except UserError as error:  # the others may do
            print(f"error: {error}", file=sys.stderr, flush=True)
            failed = True
    if failed:
        raise SystemExit(2)


@app.command()
def finetune(
    model: Annotated[
        str, typer.Argument(help="An experiment that was run here, a run's key or folder, a model's folder or name.")
    ],
    records: Annotated[
        str,
        typer.Option(
            help="Folder of WFDB records, or its zip file: any of the twelve leads; or a Delta table of them with "
            "labels, PATH or PATH@VERSION; or annotated beats."
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Of 12 leads, a CSV: `record` (path, no suffix), maybe `patient`, `age`, `sex`; labels 0, 1."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to be made for what is written.")] = Path("finetuned"),
    annotator: Annotated[str, typer.Option(help="Of beats, the suffix of the annotations.")] = "",
    protocol: Annotated[Literal["inter", "intra"], typer.Option(help="Of beats: patients apart, or not.")] = "inter",
    epochs: Annotated[int, typer.Option(min=1, help="The best of them on validation is kept.")] = 20,
    learning_rate: Annotated[
        float | None, typer.Option(min=1e-8, help="Peak; by default a share of that of a network drawn anew.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sets, a new head and the order.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Teach a network on, with your own recordings and labels, or your own annotated beats.

    Of 12 leads, its last layer is made anew for the labels, which may be others and more or fewer. Patients are dealt
    out to ten folds: eight are learnt from, one chooses epoch and thresholds, one is tested. What is written can be
    used at once: `ecglib annotate`, `predict` and `evaluate` take the folder.
    """
    from ecglib import finetune as tuning
    from ecglib.data import delta
    from ecglib.serving import Model

    start = tuning.start(model)
    how: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    if isinstance(start, Model) and start.card.task == "beats":
        if labels is not None:
            raise UserError("--labels", "means nothing of beats, whose labels are the records' annotations")
        card, record = tuning.beats(start, records, out, annotator=annotator, protocol=protocol, **how)
        if not as_json:
            _print_beats(record)
        scores = record.model_dump(mode="json", include={"metrics", "per_class"})
        print(json.dumps({"folder": str(out.resolve())} | card.model_dump() | scores) if as_json else out)
        return
    if annotator or protocol == "intra":
        raise UserError("--annotator" if annotator else "--protocol intra", "only means something of beats")
    if delta.exists(records) and labels is not None:
        raise UserError("--labels", "means nothing of a Delta table, which has a column labels")
    if labels is None and not delta.exists(records):
        raise UserError("--labels", "not given", "a CSV of the recordings' labels, or a Delta table as --records")
    note = tuning.finetune(start, Path(records), labels, out, **how)
    if not as_json:
        _print_note(note)
    where = {"folder": out, "records": Path(records)} | ({"labels": labels} if labels else {})
    said = {name: str(path.resolve()) for name, path in where.items()} | note.model_dump(mode="json")
    print(json.dumps(said) if as_json else out)


def _print_beats(record: results.Record) -> None:
    """How a network of beats that was taught on is on those that were tested, and what was left out."""
    from ecglib.experiment import told
    from ecglib.finetune import SETS
    from ecglib.report import tables

    for line in told.of_run(record):
        print(line)
    table = Table("class", *(f"in {name}" for name in SETS), "Se", "PPV", "F1")
    for name, own in record.per_class.items():
        scores = (tables.interval(own.get(each)) for each in ("se", "ppv", "f1"))
        table.add_row(name, *(str(of[name]) for of in record.data.class_counts.values()), *scores)
    _print(table)
    print(f"macro-F1 {tables.interval(record.metrics['macro_f1'])}")


def _print_note(note: Finetuned) -> None:
    """What a fine-tuning found, and what it rests on."""
    from ecglib.experiment import told
    from ecglib.report import tables

    for line in told.of_own(note.refused, note.repaired, note.assumed):
        print(line)
    table = Table("label", *(f"in {name}" for name in note.sets), "AUROC", "F1", "threshold")
    rows = [(name, name, note.per_class[name]["auroc"], note.per_class[name]["f1"]) for name in note.classes]
    rows.append(("all", "recordings", note.metrics["macro_auroc"], note.metrics["macro_f1"]))
    for (name, unit, *scores), threshold in zip(rows, [*map("{:.3f}".format, note.thresholds), ""], strict=True):
        table.add_row(name, *(str(row[unit]) for row in note.sets.values()), *map(tables.interval, scores), threshold)
    _print(table)
    print(f"{len(note.loaded)} tensors loaded, {len(note.anew)} made anew ({', '.join(note.anew)})")


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="An experiment that was run here, or a run's key or folder.")],
    out: Annotated[Path, typer.Option(help="Folder to be made.")],
    seed: Annotated[int | None, typer.Option(help="Of the network; by default the best on validation.")] = None,
    moved: Annotated[bool, typer.Option("--moved", help="Decide with the thresholds moved on validation.")] = False,
    name: Annotated[str, typer.Option(help="What the model is called, in place of its experiment.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Export a run's network to a folder that needs no torch: ONNX, weights, description and model card."""
    from ecglib.serving import export as exporting

    if (Path(run) / "model.json").is_file() or ":" in run:
        raise UserError(run, "it is exported already", "a run")
    card = exporting.export(*results.find(run), out, name=name, seed=seed, moved=moved)
    print(json.dumps({"folder": str(out.resolve())} | card.model_dump()) if as_json else out)


@app.command()
def annotate(
    recordings: Annotated[
        list[Path], typer.Argument(help="WFDB records, EDF files, or CSV files with a column of mV for each lead.")
    ],
    model: ModelOption = "ecglib:ecgnet",
    lead: Annotated[
        list[str] | None, typer.Option(help="To read in place of the model's own; may be repeated.")
    ] = None,
    rate: Annotated[float | None, typer.Option(min=1.0, help="Of a CSV file, in Hz.")] = None,
    out: Annotated[Path, typer.Option(help="Folder; each recording gets one of its name in it.")] = Path("annotated"),
    as_json: JsonFlag = False,
) -> None:
    """Find and classify the beats of recordings: annotations for WFDB, a summary, and a page to look at them.

    A record named DIR/100 gives OUT/100/100.atr, summary.json and report.html. It is no medical device.
    """
    from ecglib.serving import annotate as annotating
    from ecglib.serving import load

    names = [annotating.name_of(path) for path in recordings]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(
            twice, "two recordings of this name", "one, as each gets a folder", "annotate the other with another --out"
        )
    opened, failed = load(model), False
    for path in recordings:
        try:
            found = annotating.annotate(opened, path, lead or (), rate)
            folder = out / Path(found.recording.name).name
            annotating.write(opened, found, folder)
            print(
                json.dumps({"folder": str(folder.resolve())} | found.summary)
                if as_json
                else annotating.told(found, folder)
            )
        except UserError as error:  # the others may do
            print(f"error: {error}", file=sys.stderr, flush=True)
            failed = True
    if failed:
        raise SystemExit(2)


@app.command()
def evaluate(
    subject: Annotated[
        str, typer.Argument(help="A run, a model's folder or name, models:/NAME@ALIAS, or a folder of annotations.")
    ],
    data: Annotated[str, typer.Option(help="A database, or a folder of annotated records, or of recordings.")],
    labels: Annotated[Path | None, typer.Option(help="Of recordings, a table as for finetune.")] = None,
    annotator: Annotated[str, typer.Option(help="Suffix of the reference annotations.")] = "",
    peaks: Annotated[Literal["given", "detected"], typer.Option(help="Where a model gets the R peaks from.")] = "given",
    protocol: Annotated[
        Literal["all", "inter"], typer.Option(help="All records; or of mitdb DS2, of ptb-xl what was not learnt from.")
    ] = "all",
    as_json: JsonFlag = False,
) -> None:
    """Score a model, or annotations, on labelled records: by EC57 beat by beat, label by label, or infarctions.

    A model that is given the R peaks is scored on the beats that it can read, as in the book. Detected or annotated
    beats are compared with those of the reference within 150 ms. Intervals resample records or patients.
    """
    from ecglib.report import evaluated
    from ecglib.serving import evaluate as evaluating
    from ecglib.serving import load

    where = Path(subject)
    is_model = not where.is_dir() or any((where / name).is_file() for name in ("model.json", "record.json"))
    found = evaluating.evaluate(
        load(subject) if is_model else where, data, labels=labels, annotator=annotator, peaks=peaks, protocol=protocol
    )
    if as_json:
        print(found.model_dump_json())
        return
    for name, why in found.passed_over.items():
        print(f"passed over {name}: {why}", file=sys.stderr)
    for table in evaluated.tables(found):
        _print(table)
    print(evaluated.told(found))


@app.command()
def register(
    model: Annotated[str, typer.Argument(help="A run, a folder written by `ecglib export`, or such as `ecglib:cnet`.")],
    name: Annotated[str, typer.Option(help="In Unity Catalog: `catalog.schema.name`.")],
    alias: Annotated[str, typer.Option(help="Such as `champion`: moved to this version from another one.")] = "",
) -> None:
    """Register a copy of a model in MLflow's registry, where it is `models:/NAME@ALIAS`."""
    from ecglib.serving import registry

    print(registry.register(model, name, alias).uri)


@app.command()
def models(
    name: Annotated[str, typer.Argument(help="One model; Unity Catalog wants it named.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """The registered models, with versions and aliases."""
    from ecglib.serving import registry

    versions = registry.versions(name)
    if as_json:
        print(json.dumps([dataclasses.asdict(one) | {"uri": one.uri} for one in versions]))
        return
    table = Table("name", "version", "aliases", "task", "model", "run", "created")
    for one in versions:
        table.add_row(one.name, str(one.version), ", ".join(one.aliases), one.task, one.model, one.key, one.created)
    _print(table)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="A run, a model's folder or name, or models:/NAME@ALIAS.")],
    given: Annotated[
        str, typer.Option("--input", help="Delta table, Parquet, or a folder of WFDB records; or a database's name.")
    ],
    output: Annotated[
        str, typer.Option(help="Delta table; replaces what it has of this model and a record of the same name.")
    ],
    peaks: Annotated[str, typer.Option(help="R peaks from the annotations beside WFDB records, such as atr.")] = "",
    engine: Annotated[
        Literal["pool", "ray"], typer.Option(help="This machine, or the cluster of RAY_ADDRESS.")
    ] = "pool",
    workers: Annotated[int, typer.Option(min=0, help="Processes; 0 for one a core.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Classify many records: from a table or a folder to a Delta table, with a row a beat or label.

    A repeated run goes on where it was stopped, and passes over what is done. Records that can't be classified stand
    in a table of their own beside the output, `<output>_quarantine`, with the reason.
    """
    from ecglib.serving import predict as batch

    done = batch.predict(model, given, output, peaks=peaks, engine=engine, workers=workers)
    if as_json:
        print(json.dumps(dataclasses.asdict(done)))
        return
    print("\n".join(filter(None, [batch.told(done), done.compared])))
    for line in done.warnings:
        print(f"warning: {line}", file=sys.stderr)


# --- book -------------------------------------------------------------------------------------------------------------


@app.command()
def book(
    profile: Profile = "quick",
    check: Annotated[bool, typer.Option("--check", help="Only look for faults in sources, records and pages.")] = False,
    jobs: Annotated[int, typer.Option("-j", min=1, help="Notebooks at once.")] = 1,
    fetch: Annotated[bool, typer.Option(help="Try to fetch missing data from PhysioNet.")] = True,
) -> None:
    """Build the book: get the data, run every notebook that isn't up to date, render.

    With --check, print every fault (dangling references, typed numbers, failed notebooks, records that contradict their
    raw material, dead links …) and exit with 2 if there is one. Metrics whose raw material is not recorded are named.
    """
    if check:
        _check()
        return
    from ecglib.report import book as builder
    from ecglib.report import runner
    from ecglib.report.preview import pages

    with builder.build_lock():
        every = [p for name in config.experiments() if (p := config.load(name, profile=profile)).in_book]
        _data(fetch)
        possible, samples = _possible(every)
        every = _worth_running(possible, samples)
        for left in possible:
            if left not in every and builder.has_page(left.experiment) and not builder.is_current(left):
                page = paths.executed(left.experiment)
                builder.set_aside(page)
                page.unlink(missing_ok=True)  # its page is that of its reference result again
        waiting = [parameters for parameters in every if not builder.is_current(parameters)]
        if len(waiting) < len(every):
            print(f"{len(every) - len(waiting)} of {len(every)} notebooks are up to date")
        if waiting and (failed := _run([runner.Job(parameters) for parameters in waiting], jobs)):
            _end(*(str(job.error) for job in failed))
        page, renderer = builder.render(pages.render)
    if renderer == "pandoc":
        print("rendered with Pandoc as a plain preview, because Quarto is not here")
    print(f"the book is ready: open {page}")


def _worth_running(
    every: list[config.SharedParameters], samples: set[tuple[str, str]]
) -> list[config.SharedParameters]:
    """Of the experiments on a sample that have a reference result only the first of each notebook in the book: that
    shows everything at work, and the numbers of a sample say no more. The others' pages are of their reference
    results."""
    chapters = (paths.book() / "chapters.yml").read_text(encoding="utf-8")
    kept, notebooks = [], set()
    for p in sorted(every, key=lambda p: chapters.find(f"/{p.experiment}.ipynb")):
        notebook = p.experiment.split("/")[0]
        again = not samples.isdisjoint(_asked(p)) and notebook in notebooks
        if not (again and results.reference(p.experiment)):
            kept.append(p)
        notebooks.add(notebook)
    if left := len(every) - len(kept):
        print(f"{left} experiments are shown by their reference results alone: their database is not in {paths.data()}")
    return kept


def _data(fetch: bool) -> None:
    """Find or fetch the records."""
    from ecglib.data import databases
    from ecglib.data import fetch as fetching

    if fetch and databases.status("mitdb").state != "present":
        print(f"fetching mitdb from PhysioNet ({FETCH_SECONDS / 60:.0f} minutes at most) …", flush=True)
        try:
            with _shown("mitdb") as progress:
                fetching.download("mitdb", deadline=FETCH_SECONDS, progress=progress)
        except UserError as error:
            print(f"not fetched: {error}", file=sys.stderr)
    if databases.get("mitdb").sample:
        found = databases.status("mitdb").found
        records = f"only {found} records so far" if found else "no records"
        print(f"{records} in {paths.data() / 'mitdb'}: what is run here rests on the embedded sample and says so")


@contextmanager
def _shown(name: str) -> Iterator[Callable[[Progress], None]]:
    """Say on stderr how far a download is: one line that changes in a terminal, a line now and then elsewhere."""
    terminal = sys.stderr.isatty()
    begun = last = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal last
        whole = terminal and now.files_done == now.files_total
        if whole or time.monotonic() - last >= (0.2 if terminal else SHOW_SECONDS):
            last = time.monotonic()
            files = f"{now.files_done} of {now.files_total} files"
            share = 100 * now.files_done // now.files_total
            line = f"{name}: {share} %, {files}, {now.bytes_done / 1e6:.1f} MB received"
            print(f"\r{line}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if terminal and last > begun:
            print(file=sys.stderr)


def _check() -> None:
    from ecglib.report import check as checker
    from ecglib.report.check_records import not_recomputed

    output = paths.root() / "_book"
    with suppress(UserError):  # an unreadable record is a fault, and told as one
        for line in not_recomputed(results.references().values()):
            print(line)
    problems = checker.check(paths.root(), output if output.is_dir() else None)
    for problem in problems:
        print(problem)
    if problems:
        _end(f"{len(problems)} fault{'s' if len(problems) > 1 else ''} in the book")
    print("the book is sound" + ("" if output.is_dir() else " (not rendered yet, so its links were not looked at)"))


@app.command(hidden=True)
def mlflow(port: int = 5000) -> None:
    """MLflow's pages of all runs, on this machine only."""
    from ecglib import tracking

    command = tracking.ui_command(port)
    os.execvp(command[0], command)


@app.command()
def notebooks() -> None:
    """Make `notebooks/*.ipynb` from the text notebooks, for papermill."""
    from ecglib.report import book as builder

    for path in builder.make_notebooks():
        print(path)


# --- results ----------------------------------------------------------------------------------------------------------


@app.command("results")
def results_(as_json: JsonFlag = False) -> None:
    """The reference results as a table."""
    from ecglib.report import tables

    records = results.references()
    if as_json:
        print(json.dumps({name: record.model_dump(mode="json") for name, record in records.items()}))
        return
    scores = ("macro-F1", "macro recall", "accuracy", "AUROC")
    table = Table("experiment", "protocol", "imbalance", *scores, "seeds", "profile")
    decided = [(name, one) for name, record in records.items() for one in results.decisions(record)]
    for name, record in decided:
        p, m = record.parameters, record.metrics
        values = [m.get("macro_f1"), m.get("macro_recall"), m.get("accuracy"), m.get("auroc") or m.get("macro_auroc")]
        seeds = ", ".join(map(str, record.seeds))
        scored = map(tables.interval, values)
        table.add_row(name, str(p["protocol"]), str(p["imbalance"]), *scored, seeds, record.profile)
    _print(table)


def _print(table: Table) -> None:
    """Print a table at its full width where the output is no terminal, whose width would be a guess."""
    Console(width=None if sys.stdout.isatty() else 160).print(table)


# --- data -------------------------------------------------------------------------------------------------------------


@data_app.command("status")
def data_status(as_json: JsonFlag = False) -> None:
    """Which databases are here, and how complete they are."""
    from ecglib.data import databases

    rows = [databases.status(name) for name in databases.DATABASES]
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
        return
    table = Table("database", "state", "records", "size", "folder", "what to do")
    for row in rows:
        found = f"{row.found} of {row.expected}"
        table.add_row(row.name, row.state, found, f"{row.size / 1e6:.1f} MB", row.folder, row.hint)
    _print(table)


@data_app.command("fetch")
def data_fetch(
    name: str,
    seconds: Annotated[float | None, typer.Option(help="Give up after this time; a later call goes on.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Fetch a database from PhysioNet and verify it; goes on at the file where an earlier fetch stopped."""
    from ecglib.data import fetch as fetching

    with _shown(name) as progress:
        source = fetching.download(name, deadline=seconds, progress=progress)
    if as_json:
        print(json.dumps({"name": name, "folder": str(source.folder), "records": len(source.records)}))
    else:
        print(f"{name}: {len(source.records)} records in {source.folder}, every file verified")


@data_app.command("counts")
def data_counts(
    name: Annotated[str, typer.Argument(help="A database, or a folder of annotated WFDB records.")] = "mitdb",
    annotator: Annotated[str, typer.Option(help="Suffix of the annotations, where there are several kinds.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Annotated beats by AAMI class, of `mitdb` also in DS1 and DS2; of `kaggle`, the beats of each of its files."""
    from ecglib.data import databases
    from ecglib.data.catalogues import annotated, kaggle_csv

    if not name:
        raise UserError("data counts", "no name", "a database, or a folder of annotated WFDB records")
    in_files = name in ("kaggle", "heartbeat")
    here = name if name in databases.DATABASES or not Path(name).exists() else str(Path(name).resolve())
    source = databases.get(name) if in_files else databases.annotated(here, annotator)
    broken: list[RecordError] = []
    sums = kaggle_csv.counts(source) if in_files else annotated.by_set(source, passed_over=broken.append)
    counted = annotated.by_record(source).index if broken else source.records
    patients = {} if in_files else {"patients": len({annotated.patient_of(source, one) for one in counted})}
    for error in broken:
        print(f"passed over: {error}", file=sys.stderr)
    if as_json:
        about = {"name": name, "folder": named(str(source.folder)), "sample": source.sample, "records": len(counted)}
        print(json.dumps({"data": about | patients, **sums}))
        return
    order = [*aami.CLASSES, "normal", "abnormal", "all"]
    classes = sorted({name for row in sums.values() for name in row}, key=order.index)
    table = Table("set", *classes)
    for set_name, row in sums.items():
        table.add_row(set_name, *(f"{row[name]:,}".replace(",", " ") if name in row else "–" for name in classes))
    _print(table)
    if patients:
        print(f"{len(counted)} records of {patients['patients']} patients, annotations .{source.annotator}")
    if source.sample:
        print("the embedded sample: five minutes of each record, chosen for their ectopic beats")


@data_app.command("export")
def data_export(
    name: Annotated[str, typer.Argument(help="`kaggle`, or `delta`.")],
    out: Annotated[Path, typer.Option(help="Folder for the files, none of which may be there, or of the table.")],
    split: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of kaggle: seed of the division into files.")] = 0,
    database: Annotated[
        str, typer.Option(help="Of delta: ptb-xl, challenge-2021, or a folder of WFDB records.")
    ] = "ptb-xl",
    labels: Annotated[
        str,
        typer.Option(help="Of delta: superclasses or scored, or of a folder the CSV of its labels, as for finetune."),
    ] = "superclasses",
) -> None:
    """Rebuild the files of the Kaggle set from `mitdb` and, where it is here, `ptbdb`, with the record of every row; or
    make a Delta table of 12-lead recordings with their labels, which experiments and `finetune` take."""
    from ecglib.data import databases, export

    if name == "delta":
        _export_table(database, labels, out)
        return
    if databases.database(name).name != "kaggle":
        raise UserError("data export", f"{name} is no set of beats", "kaggle, or delta")
    for file, n in export.kaggle(out, split).items():
        print(f"{out / file}: {n} beats")
    if databases.get("mitdb").sample:
        print("cut from the embedded sample, five minutes of each record of mitdb")


def _export_table(database: str, labels: str, out: Path) -> None:
    from ecglib.data import export
    from ecglib.data.catalogues import folder
    from ecglib.experiment import told, twelve_lead

    if database in twelve_lead.READERS or config.table_of(database):
        p = config.check("twelve-lead", {"database": database, "labels": labels}, "data export")
        assert isinstance(p, config.TwelveLeadParameters)
        source = twelve_lead.read(p)
    else:
        source = folder.read(Path(database), Path(labels))
    refused = export.table(source, out)
    for line in told.of_own(source.refused | refused, {}, source.assumed):
        print(line)
    print(f"{out}: {len(source.entries) - len(refused)} recordings" + " of the embedded sample" * source.sample)
