# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One 12-lead experiment
#
# A network reads whole 12-lead recordings of any length and says which of several labels each has; or a yardstick does,
# a classical model that needs no network. Folds are scored in turn: each by a network that learnt from the others, but
# for the fold before it, on which its epoch and its thresholds were chosen. @sec-methods tells the rest.

# %% tags=["parameters"]
experiment = ""
title = ""
profile = "quick"
seeds = [0]
max_epochs = 6
patience = 10
beats_per_epoch = None
max_beats = None
max_records = None
bootstrap = 200
in_book = True

database = "ptb-xl"
labels = "superclasses"
min_positives = 10
rate = 100.0
protocol = "by-patient"
test_folds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
test = True
leave_source_out = False

model = "crnn"
model_options = {}

imbalance = "weighted"
weight_exponent = 0.5
focal_gamma = 2.0

crop_seconds = 10.0
scaling = 0.2
wander = 0.3
muscle = 0.3
lead_dropout = 0.1

fewest_per_epoch = 800
workers = 0
batch_size = 32
learning_rate = 0.003
schedule = "one-cycle"
weight_decay = 0.05
gradient_clip = 1.0
ema = 0.99

device = "auto"
precision = "auto"
deterministic = False

# %%
from IPython.display import Markdown

from ecglib import config
from ecglib.experiment import record as results
from ecglib.experiment import twelve_lead as experiments
from ecglib.report import ecg_figures, figures, recordings, tables, yardsticks

parameters = config.from_notebook(globals(), "twelve-lead")
reference, fresh = results.reference(parameters.experiment), None

# %% [markdown]
# ## What was run
#
# Where there is a reference result, this page is of it, and a run made here is one row of the table at the end, or a
# box below it where it rests on the embedded sample.

# %% tags=["run"]
run = experiments.run(parameters)
fresh = run.record

# %%
shown = reference or fresh
Markdown(tables.box(reference, shown) + recordings.provenance(shown))

# %%
Markdown(recordings.few(shown))

# %% [markdown]
# ## Result
#
# Metrics are means over the labels. Intervals come from resampling patients.

# %%
#| label: tbl-result
#| tbl-cap: Metrics, mean over seeds with the 95 % interval by patients
Markdown(tables.metrics(shown))

# %%
Markdown(recordings.result(shown))

# %%
#| label: tbl-labels
#| tbl-cap: Each label against the rest, out of fold
Markdown(recordings.per_label(shown))

# %%
#| label: fig-confusion
#| fig-cap: Confusion matrix of every label against the rest, recordings over all seeds and rates by true row
#| fig-alt: "Matrices of four squares, one a label: recordings with and without it, against what was predicted"
ecg_figures.one_vs_rest(shown)

# %%
#| label: fig-learning
#| fig-cap: Learning curves of the last fold, and the epoch that validation chose
#| fig-alt: "Curves over epochs of each seed: training and validation loss, and the metric that chose the epoch"
figures.learning_curves(shown)

# %%
#| label: tbl-folds
#| tbl-cap: Every fold, mean over seeds
Markdown(recordings.folds(shown))

# %% [markdown]
# ## Yardsticks
#
# Who the patient is, and two classical models of the median beat of twelve leads, on the same folds: a logistic
# regression on its samples, all brought to one scale, and the *kernel machine*, a support vector machine on it as it
# stands, in mV. They learn from nine folds, a network from eight, as the ninth chooses its epoch. The difference is
# paired: a resample draws the same patients for both. Yardsticks are experiments of their own, and their reference
# results stand here.

# %%
#| label: tbl-yardsticks
#| tbl-cap: AUROC of this network and of what needs none
Markdown(yardsticks.table(shown, yardsticks.yardstick_results("twelve-lead")))

# %% [markdown]
# ## Thresholds and calibration

# %%
#| label: tbl-thresholds
#| tbl-cap: Thresholds that validation chose
Markdown(recordings.thresholds(shown))

# %%
#| label: fig-reliability
#| fig-cap: Share of recordings that have a label against the probability given
#| fig-alt: "One panel a label: share of recordings that have it against the probability given, beside the diagonal"
ecg_figures.label_reliability(shown)

# %% [markdown]
# ## A source that was never seen

# %%
#| label: tbl-sources
#| tbl-cap: Each source scored by networks that learnt from the others alone, beside the same recordings out of fold
Markdown(recordings.left_out_sources(shown))

# %% [markdown]
# ## What was tried
#
# Notes of measurements whose code is not kept: pooled over all folds, under the first seed. Validation chose.

# %%
#| label: tbl-tried
#| tbl-cap: Settings tried before the parameters were set
Markdown(recordings.tried(shown))

# %% [markdown] tags=["run"]
# ## One recording
#
# The scored recording that the model of the run made here is surest of in any label but the first, and where a network
# with attention looked.

# %% tags=["run"]
#| label: fig-example
#| fig-cap: A recording on ECG paper, and the network's attention where it has one
#| fig-alt: "Twelve leads of an ECG on the grid of ECG paper; a shade where the network attends, if it has attention"
example = experiments.example(run)
figures.marked(
    ecg_figures.ecg_paper(example.signals, example.rate, attention=example.attention, title=example.title), run.record
)

# %% [markdown]
# ## What was put right

# %%
#| label: tbl-repairs
#| tbl-cap: Recordings that were repaired, counted once, contradictory or set aside
Markdown(recordings.repairs(shown))

# %% [markdown]
# ## What the numbers rest on

# %%
#| label: tbl-circumstances
#| tbl-cap: Data, seeds, machine and versions, and what a run made here gave
Markdown(tables.circumstances(shown, fresh))

# %%
#| label: tbl-parameters
#| tbl-cap: Parameters
Markdown(tables.parameters(shown, parameters.idle()))
