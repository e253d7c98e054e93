# %% [markdown]
# # Heartbeats
#
# Every number on this page comes from a cell, see @tbl-scores.

# %% tags=["parameters"]
model = "cnet"

# %%
#| label: tbl-scores
#| tbl-cap: "Scores"
print(model)
