"""Names of other libraries: what the lab calls the same thing, so that an unknown name is answered with the known one.

To add one: its entry, without case, underscores and a `loss` at its end.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_NAMES = {
    "loss": {
        "crossentropy": "ce", "categoricalcrossentropy": "ce", "sparsecategoricalcrossentropy": "ce", "nll": "ce",
        "softmaxcrossentropy": "ce", "logloss": "ce", "log": "ce", "xent": "ce", "cel": "ce", "logistic": "ce",
        "softmaxcrossentropywithintegerlabels": "ce", "crossentropywithlogits": "ce", "negativeloglikelihood": "ce",
        "bcewithlogits": "bce", "binarycrossentropy": "bce", "binarycrossentropywithlogits": "bce",
        "sigmoidbinarycrossentropy": "bce", "sigmoidcrossentropy": "bce",
        "l1": "mae", "meanabsoluteerror": "mae", "absoluteerror": "mae", "lad": "mae",
        "l2": "mse", "meansquarederror": "mse", "squarederror": "mse", "quadratic": "mse",
        "kldiv": "kl", "kullbackleiblerdivergence": "kl", "kldivergence": "kl", "kullbackleibler": "kl",
        "smoothl1": "huber", "logcosh": "log_cosh", "categoricalhinge": "multi_margin", "multimargin": "multi_margin",
        "sigmoidfocal": "focal_bce", "binaryfocalcrossentropy": "focal_bce", "categoricalfocalcrossentropy": "focal",
        "labelsmoothingcrossentropy": "label_smoothing", "softtargetcrossentropy": "ce", "asymmetric": "asl",
        "cosinesimilarity": "cosine", "cosineembedding": "cosine", "iou": "jaccard", "lovasz": "lovasz_softmax",
        "generalizeddice": "generalised_dice", "poly": "poly1", "softmargin": "multilabel_soft_margin",
        "generalizedcrossentropy": "gce", "generalisedcrossentropy": "gce", "symmetriccrossentropy": "sce",
        "dicece": "dice_ce", "tverskyindex": "tversky", "softmax": "ce", "perplexity": "ce", "pinball": "quantile",
        "rootmeansquared": "mse", "rmse": "mse", "gaussian": "gaussian_nll", "mape": "smape", "bcedice": "dice_ce",
    },
    "optimizer": {
        "amsgrad": "adam", "lamb": "adamw", "momentum": "sgd", "nesterov": "sgd", "gd": "sgd", "sgdmomentum": "sgd",
    },
    "model": {
        "lenet5": "lenet", "cnn": "convnet", "resnet": "resnet18", "multilayerperceptron": "mlp", "dense": "mlp",
        "fcn": "mlp", "logisticregression": "linear", "segnet": "segnet_basic", "perceptron": "linear",
        "simplecnn": "convnet", "smallcnn": "convnet", "lstm": "gru", "rnn": "gru", "gpt": "transformer",
        "nanogpt": "transformer", "gpt2": "transformer", "transformerlm": "transformer", "ngram": "bigram",
    },
    "dataset": {
        "fashionmnist": "fashion_mnist", "fmnist": "fashion_mnist", "csv": "tabular", "table": "tabular",
        "imagefolder": "image_folder", "optdigits": "digits", "loaddigits": "digits", "voc": "segmentation_folder",
        "cifar": "cifar10", "imagenet": "image_folder", "imagenette": "image_folder",
        "cityscapes": "segmentation_folder", "pascalvoc": "segmentation_folder", "ade20k": "segmentation_folder",
        "oxfordiiitpet": "oxford_pets", "pets": "oxford_pets", "shakespeare": "text_file",
        "tinyshakespeare": "text_file", "shakespearechar": "text_file", "wikitext2": "text_file", "enwik8": "text_file",
        **dict.fromkeys(("iris", "wine", "breastcancer", "boston", "bostonhousing", "californiahousing", "titanic",
                         "adult", "covertype", "covtype", "higgs", "abalone"), "tabular"),
    },
    "schedule": {
        "cosineannealinglr": "cosine", "cosineannealing": "cosine", "onecyclelr": "one_cycle", "onecycle": "one_cycle",
        "steplr": "step", "multisteplr": "step", "exponentiallr": "exponential", "none": "constant",
        "cosinedecay": "cosine", "exponentialdecay": "exponential", "reducelronplateau": "plateau",
        "reduceonplateau": "plateau",
    },
    "regularizer": {"weightdecay": "l2", "ridge": "l2", "lasso": "l1", "elasticnet": "elastic", "l1l2": "elastic"},
}  # fmt: skip
# Those that are only near to what the name means.
_NEAR = {"amsgrad", "lamb", "lstm", "rnn", "rmse", "mape", "perplexity"}
_FILES = {"tabular": "path", "text_file": "path", "image_folder": "root", "segmentation_folder": "root"}
_CLASSIFIERS = re.compile(
    r"(resnet|resnext|wideresnet|vit|swin|efficientnet|densenet|mobilenet|vgg|alexnet|squeezenet|convnext|regnet)\w*"
)

# Optimizers that are torch's own.
_TORCH = {name.lower(): name for name in ("NAdam", "RAdam", "Adamax", "ASGD", "Rprop", "Adadelta", "Adafactor")}

_TORCHVISION = {
    "qmnist": "QMNIST", "stl10": "STL10", "usps": "USPS", "food101": "Food101", "eurosat": "EuroSAT",
}  # fmt: skip

_KEYS = {
    "lr": "optimizer.lr", "learningrate": "optimizer.lr", "weightdecay": "optimizer.weight_decay",
    "momentum": "optimizer.momentum", "epochs": "trainer.epochs", "numepochs": "trainer.epochs",
    "maxepochs": "trainer.epochs", "nepochs": "trainer.epochs", "batchsize": "trainer.batch_size",
    "bs": "trainer.batch_size", "device": "trainer.device", "gpus": "trainer.device", "precision": "trainer.precision",
    "amp": "trainer.precision", "gradientclipval": "trainer.clip_norm", "gradclip": "trainer.clip_norm",
    "clipgradnorm": "trainer.clip_norm", "maxgradnorm": "trainer.clip_norm", "criterion": "loss", "net": "model",
    "network": "model", "backbone": "model", "data": "dataset", "optim": "optimizer", "scheduler": "schedule",
    "lrscheduler": "schedule", "randomstate": "seed", "seeds": "comparison.final_seeds", "metric": "trainer.monitor",
    "patience": "trainer.patience", "earlystopping": "trainer.patience", "earlystop": "trainer.patience",
    "wd": "optimizer.weight_decay", "seed": "seed", "randomseed": "seed", "accelerator": "trainer.device",
    "labelsmoothing": "loss=label_smoothing", "losses": "comparison.losses",
    "outputdir": "output.root", "outdir": "output.root", "savedir": "output.root",
}  # fmt: skip


def of_a_choice(group: str, name: str, available: Collection[str]) -> str | None:
    """What to choose in place of `name`, a word of another library, in a sentence; None where it is not known."""
    word = _word(name)
    found = _NAMES.get(group, {}).get(word) or _NAMES.get(group, {}).get(re.sub(r"(loss|error)$", "", word))
    bare = re.sub(r"(loss|optimizer)$", "", word)
    if found is None:
        found = next((known for known in available if _word(known) == bare), None)
    if found is not None and found in available:
        if word in _NEAR:
            return f"There is no {name} here; the nearest {group} is {found}: {group}={found}."
        if group == "dataset" and found in _FILES and word not in ("csv", "table", "imagefolder"):
            return f"{name} is read from its files: dataset={found} dataset.{_FILES[found]}=PATH."
        return f"{name} is {found} here: {group}={found}."
    if group == "model" and _CLASSIFIERS.fullmatch(word):
        return f"{name} is torchvision's: model._target_=torchvision.models.{name.lower()}."
    if group == "optimizer" and word in _TORCH:
        return (
            f"{name} is torch's: optimizer._target_=torch.optim.{_TORCH[word]}, whose trials train one after another."
        )
    if group == "dataset" and word in _TORCHVISION:
        path = f"torchvision.datasets.{_TORCHVISION[word]}"
        return f"{name} is torchvision's: dataset._target_={path} +dataset.root=FOLDER (+dataset.download=true)."
    if "." in name:
        return f"'{name}' is a dotted path: {group}._target_={name} chooses it."
    return None


def of_a_key(key: str) -> str | None:
    """What the lab calls a config key of another library, in a sentence; None where it is not known."""
    word = _word(key.rpartition(".")[2])
    if word in _KEYS and _KEYS[word] != key:
        return f"There is no '{key}': it is {_KEYS[word]} here."
    return None


def _word(name: str) -> str:
    return re.sub(r"[\s_\-]", "", name.rpartition(".")[2].lower())
