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
# # Architectures
#
# Every network of the field's projects and papers, the classical references, and `ecgnet`, ours, under the same
# protocols: epochs, thresholds and penalties chosen on validation, the test set read once a run (@sec-methods names
# the exceptions). This chapter trains nothing; it reads the reference results, and a cell without one says "not run".
# Of a network's answers to the class imbalance the one with the best macro-F1 on validation is shown (of moved
# thresholds, that of before they were moved for it). The answers are compared on CNet (@sec-imbalance-mitdb); moved
# thresholds, a second decision of the same networks, are what every other one is shown with unless it had more.
# @sec-methods says what each network is.

# %% tags=["parameters"]
experiment = ""
title = ""
profile = "quick"
in_book = True

# %%
from IPython.display import Markdown

from ecglib import config
from ecglib.report import comparisons, figures

parameters = config.from_notebook(globals(), "architectures")
records = comparisons.beat_results()

# %% [markdown]
# ## Patients in both parts
#
# Intra-patient, beats of a patient are in training and test set.

# %%
#| label: tbl-intra
#| tbl-cap: Every model intra-patient, mean over seeds with the 95 % interval over resampled records
Markdown(comparisons.architectures(records, "intra"))

# %%
Markdown(comparisons.circumstances(records, "intra"))

# %% [markdown]
# ## Patients apart
#
# Inter-patient, DS1 trains and DS2 tests; macro means are over N, S, V and F. Record 202 is the patient of 201 in DS1.
# The intervals are wide, as few patients stand behind the rare classes (@sec-splits-mitdb).

# %%
#| label: tbl-inter
#| tbl-cap: Every model inter-patient, mean over seeds with the 95 % interval over resampled records
Markdown(comparisons.architectures(records, "inter"))

# %%
Markdown(comparisons.circumstances(records, "inter"))

# %%
#| label: fig-macro-f1
#| fig-cap: Macro-F1 of every model with nothing done about the imbalance; the panels don't compare
#| fig-alt: "Points with intervals: a row a model, macro-F1 to the right, one panel for either protocol"
figures.models(records)

# %% [markdown]
# ## Five minutes of the patient
#
# Patient-adapted: the inter-patient network learns on from the first five labelled minutes of each record of DS2.
# Scored is the rest, before and after; most S beats of DS2 are those of one record, and S stands without it too.

# %%
#| label: tbl-adapted
#| tbl-cap: The same networks before and after adaptation on the same beats; gain in macro-F1 with its interval
Markdown(comparisons.adapted(records))

# %% [markdown]
# ## Against CNet
#
# Each plain network and CNet on the same beats and seeds. The interval resamples the same records for both. McNemar's
# test takes beats for independent, which they are not: its p, the median of the seeds, is too small. Networks that
# read another cut are not here: some beats are left out of one cut and not of the other.

# %%
#| label: tbl-paired-intra
#| tbl-cap: Difference to CNet, intra-patient
Markdown(comparisons.paired(records, "cnet", "intra"))

# %%
#| label: tbl-paired-inter
#| tbl-cap: Difference to CNet, inter-patient
Markdown(comparisons.paired(records, "cnet", "inter"))

# %% [markdown]
# ## What they cost
#
# Seconds are those of the machine that made the reference results, with other work beside it: an order of magnitude. A
# network's are the median epoch's times the number of epochs.

# %%
#| label: tbl-cost
#| tbl-cap: Parameters and training time of the plain networks
Markdown(comparisons.costs(records))

# %% [markdown]
# ## How they were set
#
# What a row doesn't name is as by default; @sec-methods says how these values came about.

# %%
#| label: tbl-tuned
#| tbl-cap: Parameters of the plain networks that differ from the defaults
Markdown(comparisons.tuned(records))

# %% [markdown]
# ## With and without SMOTE-Tomek
#
# The table that the field's projects print: precision, recall and F1, overall (macro) and by class, intra-patient.

# %%
#| label: tbl-smote-tomek
#| tbl-cap: Precision, recall and F1 without and with SMOTE-Tomek, intra-patient, mean over seeds
Markdown(comparisons.resampled(records, ["cnet", "bilstm", "bigru", "seq2seq"], "smote-tomek"))
