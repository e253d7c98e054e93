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
# # Imbalance
#
# Most beats are normal. What is done about it here changes the loss or the training part, by one switch in a parameter
# file, or the decision: moved thresholds are the second one of the network with nothing done. This chapter compares the
# answers on one network under both protocols. It trains nothing; it reads the reference results, and a cell without one
# says "not run".

# %% tags=["parameters"]
experiment = ""
title = ""
profile = "quick"
in_book = True

model = "cnet"

# %%
from IPython.display import Markdown

from ecglib import config
from ecglib.report import comparisons

parameters = config.from_notebook(globals(), "imbalance")
records = comparisons.of(comparisons.beat_results(), model=parameters.model)

# %% [markdown]
# ## Patients in both parts
#
# *Gain* is the difference in macro-F1 to doing nothing, on the same beats and seeds; its interval resamples whole
# records. It is empty where more than the answer differs. McNemar's test takes beats for independent, which they are
# not: its p, the median of the seeds, is too small, and is shown because the field prints it.

# %%
#| label: tbl-intra
#| tbl-cap: Answers to imbalance on one model, intra-patient
Markdown(comparisons.imbalance(records, parameters.model, "intra"))

# %%
Markdown(comparisons.circumstances(records, "intra"))

# %% [markdown]
# ## Patients apart

# %%
#| label: tbl-inter
#| tbl-cap: Answers to imbalance on one model, inter-patient
Markdown(comparisons.imbalance(records, parameters.model, "inter"))

# %%
Markdown(comparisons.circumstances(records, "inter"))
