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
# # Published results, and ours
#
# What was published, the protocol it was obtained under, what is known to be wrong with it, and what we reach under
# the same protocol. Ours is the reference result that is best on validation: by macro recall where that was published,
# else by macro-F1. This chapter trains nothing.

# %% tags=["parameters"]
experiment = ""
title = ""
profile = "quick"
in_book = True

# %%
from IPython.display import Markdown

from ecglib import config
from ecglib.report import comparisons, published

parameters = config.from_notebook(globals(), "published")
records = comparisons.beat_results()

# %%
#| label: tbl-published
#| tbl-cap: Published results beside the best of ours
Markdown(published.published(records))

# %%
Markdown(comparisons.circumstances(records, "intra", "inter", "adapted"))

# %% [markdown]
# ## What was aimed at
#
# The project set itself these aims before it had results, but for those of single beats: they were split off when a
# model that reads neighbouring beats had reached the aim. Which result stands for macro recall was settled after there
# were results: the one with the best macro recall on validation among those with enough macro-F1 there. An aim that is
# not reached stays open.

# %%
#| label: tbl-aims
#| tbl-cap: Aims and what was reached
Markdown(published.aims(records))

# %% [markdown]
# ## What was tried
#
# For the open aims of single beats with patients in both parts: every network of @sec-architectures-mitdb and every
# answer of @sec-imbalance-mitdb. For patients apart, the designs below, on DS1 alone. The code of these studies is not
# kept: the numbers are notes of measurements that this repository does not make again, and none of them is a result on
# DS2.

# %%
#| label: tbl-tried
#| tbl-cap: Compared on DS1
Markdown(published.tried())
