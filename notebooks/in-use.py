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
# # In use
#
# A trained network is of use to others when it comes with all that lies between a recording and its answer. This
# chapter takes one from a run to a table of beats. It trains nothing.

# %% tags=["parameters"]
experiment = ""
title = ""
profile = "quick"
in_book = True

# %%
import tempfile
from pathlib import Path

from IPython.display import Markdown

from ecglib import config, serving
from ecglib.data import databases
from ecglib.report import figures, in_use
from ecglib.serving import annotate, predict

parameters = config.from_notebook(globals(), "in-use")
sample = databases.sample("mitdb")
measured = in_use.measured()

# %% [markdown]
# ## One folder
#
# `ecglib export RUN --out DIR` writes a network as ONNX, which needs no torch to run; its weights, from which
# `ecglib finetune` goes on; a description of all that is done to a recording before and after, such as the temperature
# that scales its probabilities, fitted on validation [@guo2017]; and a model card. The
# description holds the hashes of the files, and one of its own, so a file that was changed is refused.
# `ecglib.serving.load` opens such a folder, a run, a registered model, or one of those that the package embeds:

# %%
#| label: tbl-embedded
#| tbl-cap: Models that the package embeds
Markdown(in_use.embedded())

# %%
model = serving.load("ecglib:ecgnet")

# %% [markdown]
# ## A recording in, an annotated recording out
#
# `ecglib annotate RECORD` finds the R peaks [@khamis2016], classifies each beat, and writes annotations that other
# programs read, a summary, and a page to look at the recording. Here it is done to five minutes of record 208.

# %%
Markdown(in_use.BOX)

# %%
annotated = annotate.annotate(model, sample.folder / "208")

# %%
#| label: tbl-summary
#| tbl-cap: What the summary says of the recording
Markdown(in_use.summary(annotated.summary))

# %%
#| label: fig-strip
#| fig-cap: The ten seconds with beats of the most classes, as the model annotated them
#| fig-alt: "Trace of an ECG in millivolts over ten seconds; a coloured letter over each beat names its class"
figures.record_strip(**in_use.busiest_strip(annotated, model.card.classes))

# %% [markdown]
# ![The page that is written for a recording: heart rate and ectopic beats over the whole of it, a strip on ECG paper
# that moves with mouse, finger and keys, and a table of what is worth a look](../../images/report.png){#fig-page}
#
# ## Many recordings in, a table out
#
# `ecglib predict MODEL --input RECORDS --output TABLE` classifies the recordings of a folder or of a table and writes a
# Delta table, a row a beat. Rows of a recording and of a version of the model come and go together, so that it does no
# harm to repeat a run that was killed. What can't be read goes to a table beside it, with the reason.

# %%
with tempfile.TemporaryDirectory() as folder:
    table = Path(folder) / "beats"
    done = predict.predict("ecglib:ecgnet", str(sample.folder), str(table), peaks="atr", workers=1)
    beats = predict.delta.dataset(str(table)).to_table().to_pandas()

# %%
#| label: tbl-rows
#| tbl-cap: The first rows of the table, but for the columns of the run and its time
Markdown(in_use.rows(beats))

# %% [markdown]
# ## With detected R peaks
#
# The results of the other chapters rest on the R peaks of the cardiologists. In use, these must be found first, in the
# lead that the model reads and, where there is one, in a second. What is found is compared with the reference beat by
# beat, as EC57 asks: a beat is found when one lies within 150 ms. The detector was chosen on all records of `mitdb`.
# Its second lead came after DS2 had been scored without one, and was changed after DS2 had been scored with it.

# %%
#| label: tbl-peaks
#| tbl-cap: DS2 by the embedded ecgnet, with given and with detected R peaks; intervals by records
Markdown(in_use.peaks(measured))

# %%
Markdown(in_use.verdict(measured))

# %% [markdown]
# ## How fast it is

# %%
#| label: tbl-speed
#| tbl-cap: Throughput
Markdown(in_use.speed(measured))
