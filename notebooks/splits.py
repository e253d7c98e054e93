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
# # What the split is worth
#
# The same networks, trained the same way, tested on patients that they know and on patients that they don't. The
# difference is what the intra-patient protocol hides. Our own networks are left out, whose parameters differ between
# the protocols. This chapter trains nothing; it reads the reference results.

# %% tags=["parameters"]
experiment = ""
title = ""
profile = "quick"
in_book = True

model = "cnet"

# %%
from IPython.display import Markdown

from ecglib import config
from ecglib.report import comparisons, figures, words

parameters = config.from_notebook(globals(), "splits")
records = comparisons.beat_results()
gaps = comparisons.gap_by_record(records, parameters.model)

# %% [markdown]
# ## By class

# %%
#| label: tbl-classes
#| tbl-cap: F1 of each class under both protocols, and what is lost between them
Markdown(comparisons.gap_by_class(records))

# %% [markdown]
# A 1-nearest-neighbour learns nothing that could carry over to another patient. How well it does intra-patient is how
# much that split lets one look up.
#
# ## By record
#
# For every record of DS2: how many of its beats one network classifies right when other beats of the patient were in
# training, and when none were. (Record 202 is the exception: its patient is that of record 201, which trains.)

# %%
#| label: fig-records
#| fig-cap: Share of each DS2 record's beats classified right, under both protocols
#| fig-alt: "Pairs of points: one row a record, the share of its beats classified right under either protocol"
figures.gaps(gaps)

# %%
#| label: tbl-records
#| tbl-cap: The records of DS2 with the largest gap
Markdown(comparisons.by_record_table(gaps))

# %% [markdown]
# ## How many patients stand behind a class
#
# Beats of one record resemble each other, so a class is worth as many observations as it has records, weighed by their
# shares. Kish's effective number says how many records with equal shares would carry as much.

# %%
#| label: tbl-effective
#| tbl-cap: Beats of DS2 by class, and the effective number of records behind them
Markdown(comparisons.effective_patients(gaps))

# %%
Markdown(words.concentration(gaps))

# %% [markdown]
# So the S F1 of a network on DS2 is, for the most part, what it makes of that one record; @sec-published-mitdb tells
# what it taught us, and gives S F1 without it.
