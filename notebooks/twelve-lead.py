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
from ecglib.experiment import twelve_lead as experiments
from ecglib.report import ecg_figures, figures, recordings, tables
from ecglib.report.yardsticks import yardstick_results

parameters = config.from_notebook(globals(), "twelve-lead")

# %% [markdown]
# ## The run

# %%
run = experiments.run(parameters)
_shown = run.reference() or run.record
Markdown(recordings.provenance(run.record))

# %%
Markdown(recordings.few(_shown))

# %% [markdown]
# ## Result
#
# Metrics are means over the labels, the reference result beside the run that made this page. Intervals come from
# resampling patients. All that follows is of the reference result where there is one, but for the learning curves and
# the example.

# %%
#| label: tbl-result
#| tbl-cap: Metrics, the reference result beside this run (mean over seeds, 95 % interval by patients)
Markdown(tables.beside(run.reference(), run.record))

# %%
Markdown(recordings.result(_shown))

# %%
#| label: tbl-labels
#| tbl-cap: Each label against the rest, out of fold
Markdown(recordings.per_label(_shown))

# %%
#| label: fig-confusion
#| fig-cap: Confusion matrix of every label against the rest, recordings over all seeds and rates by true row
ecg_figures.one_vs_rest(_shown)

# %%
#| label: fig-learning
#| fig-cap: Learning curves of the last fold, and the epoch that validation chose
figures.learning_curves(run.record)

# %%
#| label: tbl-folds
#| tbl-cap: Every fold, mean over seeds
Markdown(recordings.folds(_shown))

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
Markdown(recordings.yardsticks(_shown, yardstick_results("twelve-lead")))

# %% [markdown]
# ## Thresholds and calibration

# %%
#| label: tbl-thresholds
#| tbl-cap: Thresholds that validation chose
Markdown(recordings.thresholds(_shown))

# %%
#| label: fig-reliability
#| fig-cap: Share of recordings that have a label against the probability given
ecg_figures.label_reliability(_shown)

# %% [markdown]
# ## A source that was never seen

# %%
#| label: tbl-sources
#| tbl-cap: Each source scored by networks that learnt from the others alone, beside the same recordings out of fold
Markdown(recordings.left_out_sources(_shown))

# %% [markdown]
# ## What was tried
#
# Notes of measurements whose code is not kept: pooled over all folds, under the first seed. Validation chose.

# %%
#| label: tbl-tried
#| tbl-cap: Settings tried before the parameters were set
Markdown(recordings.tried(_shown))

# %% [markdown]
# ## One recording
#
# The scored recording that the model is surest of in any label but the first, and where a network with attention
# looked.

# %%
#| label: fig-example
#| fig-cap: A recording on ECG paper, and the network's attention where it has one
_example = experiments.example(run)
ecg_figures.ecg_paper(_example.signals, _example.rate, attention=_example.attention, title=_example.title)

# %% [markdown]
# ## What was put right

# %%
#| label: tbl-repairs
#| tbl-cap: Recordings that were repaired, counted once, contradictory or set aside
Markdown(recordings.repairs(_shown))

# %% [markdown]
# ## What the numbers rest on

# %%
#| label: tbl-circumstances
#| tbl-cap: Data, seeds, machine and versions of this run
Markdown(tables.circumstances(run.record))

# %%
#| label: tbl-parameters
#| tbl-cap: Parameters of this run
Markdown(tables.parameters(run.record, parameters.idle()))
