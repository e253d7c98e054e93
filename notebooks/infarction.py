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
# # One infarction experiment
#
# A network that learnt arrhythmia beats, or a new one, learns to tell recordings with a myocardial infarction from
# healthy ones; or a yardstick does, a classical model that needs no network. Patients are divided into folds; each fold
# is scored by a model that never saw its patients, and a recording by the mean of its beats. @sec-methods tells the
# rest.

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
leads = ["II"]
protocol = "by-patient"
folds = 10
test = True

model = "cnet"
model_options = {}
way = "finetune"
epochs = 5
pretrained = "heartbeat/baseline"
layer_decay = 0.85
hidden = 64
dropout = 0.5
noise = 0.02
networks = 1
curve = []

imbalance = "weighted"
smote_neighbours = 5

batch_size = 64
learning_rate = 0.003
schedule = "one-cycle"
weight_decay = 0.05
head_decay = 5.0
label_smoothing = 0.0
gradient_clip = 1.0
ema = None

device = "auto"
precision = "auto"
deterministic = False

# %%
from IPython.display import Markdown

from ecglib import config
from ecglib.experiment import infarction as experiments
from ecglib.experiment import record as results
from ecglib.report import figures, infarctions, tables, yardsticks

parameters = config.from_notebook(globals(), "infarction")
reference, fresh = results.reference(parameters.experiment), None

# %% [markdown]
# ## What was run
#
# Where there is a reference result, this page is of it, and a run made here is one row of the table at the end, or a
# box below it where it rests on the embedded sample.

# %% tags=["run"]
fresh = experiments.run(parameters).record

# %%
shown = reference or fresh
Markdown(tables.box(reference, shown) + infarctions.provenance(shown))

# %% [markdown]
# ## Result
#
# Scores of recordings, or where only beats are known, of beats, without intervals. Intervals come from resampling
# patients. Both classes count the same in training, so that log-odds of zero decide; probabilities for the calibration
# error are those at the share of infarctions in the training part.

# %%
#| label: tbl-result
#| tbl-cap: Metrics of recordings, mean over seeds with the 95 % interval by patients
Markdown(tables.metrics(shown))

# %%
Markdown(infarctions.result(shown))

# %%
#| label: fig-confusion
#| fig-cap: Confusion matrix, recordings over all seeds and rates by true class
#| fig-alt: "Two matrices, counts and shares: with and without infarction, against what was predicted"
figures.confusion(shown)

# %%
#| label: tbl-levels
#| tbl-cap: The same scores of other things
Markdown(infarctions.levels(shown))

# %% [markdown]
# ## Yardsticks
#
# Who the patient is, and two classical models of the median beat, on the same folds: a logistic regression on its
# samples, all brought to one scale, and the *kernel machine*, a support vector machine on it as it stands, in mV. The
# difference is paired: a resample draws the same patients for both. Yardsticks are experiments of their own; their
# reference results stand here.

# %%
#| label: tbl-yardsticks
#| tbl-cap: AUROC of recordings, of this network and of what needs none
Markdown(yardsticks.table(shown, yardsticks.yardstick_results("infarction")))

# %% [markdown]
# ## Few patients

# %%
#| label: fig-curve
#| fig-cap: AUROC after learning from so many labelled patients
#| fig-alt: "Curve with a band: AUROC against the number of labelled patients"
figures.label_curve([shown])

# %% [markdown]
# ## What was transferred

# %%
#| label: tbl-transferred
#| tbl-cap: Tensors of the pretrained network
Markdown(infarctions.transferred(shown))

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
