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
# # Tuning
#
# A search draws sets of parameters, trains a network with each, and looks at its score on validation after every epoch.
# The test part of its own split is not read by it. This page trains nothing: it shows what the search found, which is
# kept with the book, and at its end what is left of the gain on the test set.

# %% tags=["parameters"]
experiment = ""
title = ""
profile = "quick"
in_book = True

base = ""
space = {}
fixed = {}
metric = "macro_f1"
searcher = "tpe"
scheduler = "asha"
grace = 1
reduction = 4
trials = 150
concurrency = 2
cpus = 1
gpus = 0
budget = ""
seed = 0
confirm = [1, 2]
quick = {}

# %%
from IPython.display import Markdown

from ecglib import config
from ecglib.report import search_figures, searches

parameters = config.from_notebook(globals(), "tuning")
search = searches.of(parameters)

# %%
Markdown(searches.told(search))

# %% [markdown]
# ## What is searched

# %%
#| label: tbl-space
#| tbl-cap: The parameters that are drawn, what they are in the base, and what was found best
Markdown(searches.space(search))

# %%
Markdown(searches.fixed(search))

# %% [markdown]
# ## The trials

# %%
#| label: fig-history
#| fig-cap: Highest validation metric of every trial, in the order in which they began; the scale is wider towards one
#| fig-alt: "Points: one a trial, in order, its highest validation metric upwards; a line steps up with the best so far"
search_figures.history(search)

# %%
Markdown(searches.history(search))

# %%
#| label: fig-curves
#| fig-cap: Validation metric of every trial after each epoch; the scale is wider towards one
#| fig-alt: "Curves over epochs: validation metric of each trial; some end early, the best is drawn thick"
search_figures.curves(search)

# %%
Markdown(searches.curves(search))

# %% [markdown]
# ## What good trials have in common

# %%
#| label: fig-parallel
#| fig-cap: Every trial as a line through its parameters, with a gap where one was not drawn; lists by their number
#| fig-alt: "Parallel coordinates: a row a parameter, a line a trial; the best quarter and the best trial stand out"
search_figures.parallel(search)

# %%
Markdown(searches.in_common(search))

# %% [markdown]
# fANOVA [@hutter2014] fits a forest to the trials and says how much of the variance between them each parameter
# explains alone, as Optuna [@akiba2019] computes it. Trials count by rank, and one that was stopped early by what it
# had reached. A parameter that waits for another one is judged over the trials that have it. The range is that of
# forests which differ in their seed and in the trials drawn for them, with replacement; where it is wide, the share is
# uncertain.

# %%
#| label: tbl-importances
#| tbl-cap: Share of the variance that a parameter explains alone, mean and range over the forests
Markdown(searches.importances(search))

# %%
Markdown(searches.importance(search))

# %% [markdown]
# ## What early stopping saved

# %%
Markdown(searches.saved(search))

# %%
Markdown(searches.replayed(search))

# %% [markdown]
# ## Base and best under other seeds
#
# The best of many is in part the luckiest. So base and best are trained in full once more, under seeds that the search
# did not see: with other first weights and, where the seed draws it, another split.

# %%
#| label: tbl-confirmed
#| tbl-cap: Base and best on validation, under seeds that the search did not see
Markdown(searches.confirmed(search))

# %%
Markdown(searches.confirmation(search))

# %% [markdown]
# ## On the test set
#
# Base and best have reference results, as the experiments of the other chapters do. *Gain* is their difference; where
# it has an interval, that resamples whole records, or of an area under the ROC curve patients, the same for both.

# %%
#| label: tbl-test
#| tbl-cap: Base and best found on the test set
Markdown(searches.tested(search))

# %%
#| label: tbl-gains
#| tbl-cap: What became of the gain, from the search to the test set
Markdown(searches.gains(search))

# %%
Markdown(searches.verdict(search))

# %% [markdown]
# ## A search of one's own
#
# `ecglib tune` runs a search, and so do two lines in JupyterLab. `resume=True` goes on with one that was interrupted.
#
# ```python
# from ecglib import tuning
#
# search = tuning.load("tuning/cnn")
# found = tuning.run(search)
# ```
#
# `params/tuning/` holds the spaces; a copy with another name, base or space is another search.
