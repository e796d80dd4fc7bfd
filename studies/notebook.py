# %% [markdown]
# # A search in a notebook
#
# Searches small networks for scikit-learn's handwritten digits, looks at the front, and sees what
# the winner gets wrong. It takes minutes on two cores. VS Code opens this file as a
# notebook, and so does Jupyter with jupytext. `python studies/notebook.py` runs it as a script.

# %%
import plotly.express as px
import torch

import nas_mnist

# %% [markdown]
# ## Search
#
# Eight networks of at most 1,500 parameters. The same call goes on with a search that was
# interrupted, and with more `trials` it adds to one that is finished. For MNIST leave out
# everything but the budget, and give it hours.

# %%
study = nas_mnist.search(dataset="digits", budget=1500, trials=8, epochs=4, confirm=False)

# %% [markdown]
# ## The front
#
# The networks that no other beats in both size and accuracy. `estimate` is the validation accuracy
# expected from all runs together, in percent; `estimate_sd` says how sure that is.

# %%
trials = study.to_pandas()
columns = ["trial", "parameters", "estimate", "estimate_sd", "test_accuracy", "notation"]
front = trials[trials.on_front].sort_values("parameters")[columns]
front

# %% [markdown]
# As a picture (in a bare environment, plotly needs `pip install nbformat` to show it):

# %%
figure = nas_mnist.front_figure(study)
figure

# %% [markdown]
# ## The winner
#
# The most accurate network by its estimate, as a torch module with its trained weights.

# %%
winner = study.winner()
network = winner.load()
print(f"{winner.architecture.parameters:,} parameters")
network

# %% [markdown]
# ## Its mistakes
#
# A network takes pixels from 0 to 1, less their mean, divided by their standard deviation.

# %%
test = nas_mnist.load_dataset("digits").test
mean, std = study.normalization
with torch.inference_mode():
    answers = network((test.images.float() / 255 - mean) / std).argmax(dim=1)
wrong = (answers != test.labels).nonzero().flatten().tolist()
print(f"{len(wrong)} of {len(test)} test images wrong")

# %% [markdown]
# The first of them, shown → answered:

# %%
shown = wrong[:12]
titles = [f"{test.labels[index]} → {answers[index]}" for index in shown]
pictures = test.images[shown, 0].numpy()
mistakes = px.imshow(pictures, facet_col=0, facet_col_wrap=6, binary_string=True)
mistakes.for_each_annotation(lambda own: own.update(text=titles[int(own.text.split("=")[1])]))

# %% [markdown]
# ## Keep it
#
# As `winner.py`, which needs only torch, with its weights and a model card beside it.

# %%
winner.export("runs/notebook/winner.py")
