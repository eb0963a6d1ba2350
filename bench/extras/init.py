"""``bench init DIR``: a first protocol over a folder of one's own scans in MSD or nnU-Net's raw layout."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import Template

from bench.atomic import write_atomic
from bench.data.check import check
from bench.data.layout_msd import is_laid_out, likely_visits
from bench.data.listing_msd import Ask, write_missing
from bench.data.roots import Roots, adapter
from bench.errors import BenchError, printable
from bench.extras.survey.first import NETWORK, First, first, seen_in_words
from bench.extras.survey.linked import linked, organ_names, suggestion
from bench.extras.survey.measure import Survey
from bench.nets.catalog import ARCHITECTURES
from bench.protocol.sections import FEW_JUDGES
from bench.report.footnotes import counted
from bench.show.reports import RESULTS, tables_in
from bench.volumes.files import dicom_inside

TEMPLATE = Path(__file__).with_name("templates") / "first.yaml"
UNDERTRAINED = "below it with all labels, the page calls scratch undertrained"
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")  # of YAML, without quotes


@dataclass(frozen=True)
class Stated:
    """What a person says of a folder of scans."""

    labels: Mapping[int, str] = field(default_factory=dict)
    channels: str = ""  # ``--channels`` as typed
    # of scans in another layout: patterns below their folder
    images: tuple[str, ...] = ()  # one for each channel
    masks: tuple[str, ...] = ()  # of label maps; of several, one for each label
    links: Path | None = None  # the folder that links to them
    patients: str = ""  # a regular expression whose group is a case's patient
    network: str = NETWORK


def init(
    folder: Path,
    to: Path | None,
    stated: Stated,
    ask: Ask,
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[str]:
    """Write the protocol, and ``dataset.json`` where there is none; return what to do next.

    Args:
        folder: holds imagesTr and labelsTr, or what ``stated.images`` says.
        to: the protocol; by default ``<folder's name>.yaml`` here.
        stated: of the folder.
        ask: answers a question.
        workers: cases that are read at once.
        on_progress: called with (cases done, cases in all).

    Raises:
        BenchError: no such layout, nothing to train and test on, or the file is there already.
    """
    root = folder if folder.name not in ("", "..") else folder.resolve()
    if stated.images:
        _check_patients(stated.patients)
        place = stated.images, stated.masks, stated.links, workers
        with linked(root, *place) as (home, text):
            names = organ_names(stated.masks) if len(stated.masks) > 1 else {}
            rest = replace(
                stated, images=(), masks=(), links=None, labels=names | {**stated.labels}
            )
            return [text, *init(home, to, rest, ask, workers, on_progress)]
    if stated.masks or stated.links:
        raise BenchError(
            "--label, --links: work only with --image, the pattern of the scans; add --image"
        )
    if not is_laid_out(root):
        raise BenchError(_no_layout(root))
    path = to or Path(
        f"{re.sub(r'[^A-Za-z0-9_]+', '_', root.name).strip('_').lower() or 'first'}.yaml"
    )
    if path.exists() or not path.parent.is_dir():
        why = "there already, and nothing is overwritten"
        if not path.exists():
            why = f"no folder {path.parent}"
        raise BenchError(f"{path}: {why}; name another file with --to")
    with ExitStack() as undo:
        listing = root / "dataset.json"
        if not listing.exists():
            undo.callback(listing.unlink, missing_ok=True)
        lines_of_labels = _listing(root, stated, ask, workers)
        anchor = _anchor(root.name, ask)
        if stated.patients:
            before = listing.read_bytes()
            _state_patients(listing, stated.patients)
            undo.callback(write_atomic, listing, before)
        roots = Roots(root.absolute().parent)
        survey = Survey(root.name, adapter(root.name, roots), root)
        survey.findings = check(survey.dataset, root, workers, on_progress, survey.look)
        protocol = first(survey, stated.network)
        command = f"bench run {shlex.quote(str(path))} --data {shlex.quote(str(root.parent))}"
        text = _text(survey, protocol, command, anchor)
        try:
            write_atomic(path, text)
        except OSError as error:
            raise BenchError(
                f"{path}: cannot be written ({error.strerror}); name another file with --to"
            ) from None
        undo.pop_all()
    return [
        *lines_of_labels,
        *_counted_lines(survey, protocol),
        printable(f"{path}: written; next:"),
        printable(f"    {command}"),
        *_nnunet_lines(protocol),
    ]


def _no_layout(root: Path) -> str:
    """Return what to do about a folder that is not laid out as MSD or nnU-Net do."""
    if not root.is_dir():
        return f"{root}: no such folder; correct the path"
    if dicom := dicom_inside(root):
        return f"{root}: no folder imagesTr{dicom}"
    hint = suggestion(root)
    how = hint or "e.g. --image '*/T1.nii.gz' --label '*/mask.nii.gz'"
    return (
        f"{root}: no folder imagesTr; it is not laid out as MSD or nnU-Net do (imagesTr, labelsTr); "
        f"say where the files are, {how} ('bench new dataset' begins a data set of any other kind)"
    )


def _check_patients(pattern: str) -> None:
    """Refuse a pattern that cannot name a patient."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise BenchError(f"--patients {pattern}: is no regular expression ({error})") from None
    if pattern and groups != 1:
        raise BenchError(
            f"--patients {pattern}: has {groups} groups; put the patient's part in one: '(.*)_visit.*'"
        )


def _state_patients(path: Path, pattern: str) -> None:
    """Write into ``dataset.json`` how cases name their patients."""
    _check_patients(pattern)
    listing = json.loads(path.read_text(encoding="utf-8"))
    if listing.get("patients", pattern) != pattern:
        raise BenchError(f"--patients: {path} already states the patients; change that file")
    write_atomic(path, json.dumps({**listing, "patients": pattern}, indent=1) + "\n")


def _listing(root: Path, stated: Stated, ask: Ask, workers: int) -> list[str]:
    """Write ``dataset.json`` where there is none; return a line that says so."""
    labels, channels = stated.labels, stated.channels
    path = root / "dataset.json"
    if path.exists():
        if labels or channels:
            flag = "--labels" if labels else "--channels"
            raise BenchError(
                f"{flag}: {path} already gives these names; leave the flag out, or change the file"
            )
        return []
    names = tuple(filter(None, (name.strip() for name in channels.split(","))))
    return [printable(f"{path}: written ({write_missing(root, labels, names, ask, workers)})")]


def label_names(text: str) -> dict[int, str]:
    """Return value -> name out of ``1=liver,2=tumour``.

    Raises:
        BenchError: another spelling, or a value twice.
    """
    labels: dict[int, str] = {}
    for part in filter(None, text.split(",")):
        value, equals, name = part.partition("=")
        if not (equals and value.strip().isdecimal() and name.strip()) or len(value) > 6:
            raise BenchError(f"--labels {part}: write VALUE=NAME, e.g. 1=liver,2=tumour")
        if int(value) in labels:
            raise BenchError(
                f"--labels {text}: names value {int(value)} twice; give each value one name"
            )
        labels[int(value)] = name.strip()
    return labels


def _anchor(name: str, ask: Ask) -> str:
    """Return the line of an anchor: as published for this data set, as a person says, or what to write there."""
    table = tables_in(RESULTS, "reference.csv")
    published = list[tuple[str, str]]()
    if table is not None:
        rows = table[(table.dataset == name) & (table.metric == "dice")]
        published = [*zip(rows.value, rows.source, strict=True)]
    lowest, source = min(published, default=("none", ""))
    question = "mean Dice (0 to 1) that others reach on such scans with all labels, if known"
    stated = ask(question, lowest)
    if stated == "none":
        return f"# anchor: {{mean: SCORE}}  # write the mean Dice (0 to 1) that others reach; {UNDERTRAINED}"
    try:
        mean = float(stated)
    except ValueError:
        mean = 0.0
    if not 0 < mean <= 1:
        raise BenchError(f"anchor {stated}: is no mean Dice; write a number from 0 to 1, or none")
    return f"anchor: {{mean: {mean:g}}}  # {UNDERTRAINED}: {source if stated == lowest else 'as stated'}"


def _text(survey: Survey, chosen: First, command: str, anchor: str) -> str:
    excluded = "[" + ", ".join(map(_quoted, chosen.excluded)) + "]"
    left = f"    exclude: {excluded}  # 'bench check' says why\n" if chosen.excluded else ""
    few = chosen.judges < FEW_JUDGES
    title = " ".join(printable(survey.dataset.title).split())
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=title,
        quoted=json.dumps(title, ensure_ascii=False),
        command=command,
        seen=seen_in_words(survey),
        dataset=_quoted(survey.name),
        also=f", and on {chosen.unlabelled} scans that have none" if chosen.unlabelled else "",
        unlabelled=", unlabelled: true" if chosen.unlabelled else "",
        exclude=f", exclude: {excluded}" if chosen.excluded else "",
        left=left,
        recipe=_inline(chosen.recipe),
        why=chosen.why,
        network=chosen.net.name,
        base=chosen.net.base,
        tiny=chosen.net.tiny,
        crop=[*chosen.net.crop],
        view=[*chosen.net.view],
        pilot=[*chosen.net.pilot],
        pilot_view=[*chosen.net.pilot_view],
        small=[*chosen.net.small],
        small_view=[*chosen.net.small_view],
        split=chosen.split,
        one=", folds: [0]" if chosen.folds > 1 else "",
        parts=chosen.parts,
        fractions=[*chosen.fractions],
        anchor=anchor,
        judges="on: folds, runs: 1}  # too few patients validate" if few else "runs: others}",
        val="" if few else "    val: full\n",
        pretrain=chosen.pretrain,
        finetune=chosen.finetune,
    )


def _inline(recipe: dict[str, object]) -> str:
    return "{" + ", ".join(f"{k}: {json.dumps(v).strip(chr(34))}" for k, v in recipe.items()) + "}"


def _quoted(text: str) -> str:
    return text if PLAIN.fullmatch(text) and not text.isdecimal() else json.dumps(text)


def _for_nnunet(network: str) -> str:
    """Return whether nnU-Net can take the weights."""
    names = dict.fromkeys(name for name, _ in ARCHITECTURES)
    if network in names:
        return "exports to nnU-Net, see below"
    return f"only {', '.join(names)} exports to nnU-Net (--network {next(iter(names))}, in another file: --to)"


def _nnunet_lines(chosen: First) -> list[str]:
    """Return the command whose weights nnU-Net can load; none for another network."""
    if (chosen.net.name, chosen.net.tiny) not in ARCHITECTURES:
        return []
    one = " --only fold=0" * (chosen.folds > 1)
    return [
        "for nnU-Net, after a run at scale pilot (or smoke, paper):",
        f"    bench export models_genesis --only scale=pilot{one} --format nnunet "
        "--plans nnUNet_preprocessed/DATASET/nnUNetPlans.json --to checkpoint.pth",
        "nnU-Net 2.8.1 needs encoder and decoder: models_genesis pretrains both",
        "simclr3d pretrains the encoder alone: export its fine-tuning with --only kind=finetune",
    ]


def _counted_lines(survey: Survey, chosen: First) -> list[str]:
    """Return what was seen and chosen, for a person."""
    lines = [f"{survey.name}: {seen_in_words(survey)}"]
    if survey.findings:
        left_out = f", {counted(len(chosen.excluded), 'case')} left out" if chosen.excluded else ""
        findings = counted(len(survey.findings), "finding")
        command = f"bench check {shlex.quote(str(survey.root))}"
        lines.append(f"{findings}{left_out}; '{command}' lists them")
    if visits := likely_visits(survey.cases):
        lines.append(visits)
    lines += [f"recipe: {doubt}" for doubt in chosen.doubts]
    lines.append(f"network {chosen.net.name}: {_for_nnunet(chosen.net.name)}")
    lines.append(f"split {chosen.split}: {chosen.parts}")
    if chosen.unlabelled:
        lines.append(
            f"pretraining also reads {chosen.unlabelled} scans without a label; if they are your test scans, "
            "write 'unlabelled: false' in place of 'unlabelled: true' in the file"
        )
    return [printable(line) for line in lines]
