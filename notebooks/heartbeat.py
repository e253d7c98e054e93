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
# # One heartbeat experiment
#
# A network learns to put single heartbeats into the five classes of AAMI EC57, under one protocol and with one answer
# to the class imbalance. The parameters below say which. @sec-methods tells how beats are cut, how the sets are divided
# and how every choice is made on validation data.

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

database = "mitdb"
annotator = ""
protocol = "intra"
train_on = []
test_on = []
cut = "kachuee"
features = ["*"]
leads = ["MLII"]
validation_fraction = 0.1
test = True

model = "cnet"
model_options = {}
beats_per_sequence = 10

adaptation = "head"
adaptation_minutes = 5.0
adaptation_steps = 50
adaptation_rate = 0.001

imbalance = "none"
weight_exponent = 1.0
effective_beta = 0.999
focal_gamma = 2.0
adjustment_strength = 1.0
smote_neighbours = 5
sampling = "all"

batch_size = 256
learning_rate = 0.003
schedule = "one-cycle"
weight_decay = 0.01
selection = "macro_f1"
label_smoothing = 0.0
gradient_clip = 1.0
ema = 0.998
refit = False
start_from = ""

device = "auto"
precision = "auto"
deterministic = False

# %%
from IPython.display import Markdown

from ecglib import config
from ecglib.experiment import heartbeat as experiments
from ecglib.experiment import record as results
from ecglib.report import figures, tables, words

parameters = config.from_notebook(globals(), "heartbeat")
reference, fresh = results.reference(parameters.experiment), None

# %% [markdown]
# ## What was run
#
# The reference result is the one that the project stands for: the full profile on the whole database, committed with
# the code. Where there is one, this page is of it, and a run made here is one row of the table at the end, or a box
# below it where it rests on the embedded sample. A run is looked up by its key and trained only if it isn't there. A
# key is made of everything that can change the weights; @sec-design says what that is.

# %% tags=["run"]
fresh = experiments.run(parameters).record

# %%
shown = reference or fresh
Markdown(tables.box(reference, shown) + words.provenance(shown))

# %% [markdown]
# ## Result
#
# Intervals come from resampling whole records; beats whose records are unknown have none.

# %%
#| label: tbl-result
#| tbl-cap: Metrics, mean over seeds with the 95 % interval by records
Markdown(tables.metrics(shown))

# %%
Markdown(words.result(shown))

# %% [markdown]
# ## By class
#
# Each class against the rest: sensitivity (Se), positive predictivity (+P), F1 and specificity.

# %%
#| label: tbl-classes
#| tbl-cap: Each class against the rest
Markdown(tables.per_class(shown))

# %%
Markdown(words.classes(shown))

# %%
#| label: fig-confusion
#| fig-cap: Confusion matrix, counts over all seeds and rates by true class
#| fig-alt: "Two matrices, counts and shares of the row: true classes downwards, predicted ones to the right"
figures.confusion(shown)

# %% [markdown]
# How well a class's probability ranks its beats before all others, whatever the threshold:

# %%
#| label: tbl-ranking
#| tbl-cap: Area under the ROC curve and under the precision-recall curve, one class against the rest
Markdown(tables.per_class(shown, ["auroc", "auprc"]))

# %% [markdown]
# ## With thresholds moved
#
# A second decision of the same networks: offsets on their logits, chosen for macro-F1 on validation (@sec-methods).

# %%
#| label: tbl-moved
#| tbl-cap: With thresholds moved on validation
Markdown(tables.moved(shown))

# %% [markdown]
# ## Ectopic beats by the rules of EC57
#
# EC57 scores ventricular (VEB) and supraventricular (SVEB) detection with rules of its own: a fusion or unknown beat
# taken for a ventricular one is no error.

# %%
#| label: tbl-ec57
#| tbl-cap: VEB and SVEB detection as EC57 scores it
Markdown(tables.ec57(shown))

# %% [markdown]
# ## Training
#
# The epoch is the one with the best validation macro-F1; the test set has no part in the choice.

# %%
#| label: fig-curves
#| fig-cap: Loss and validation macro-F1 by epoch; the ring marks the chosen epoch
#| fig-alt: "Curves over epochs of each seed: training and validation loss, and the metric that chose the epoch"
figures.learning_curves(shown)

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
