"""The losses, by family: pure functions `(logits, target, *, knobs) -> per-element values`. See `contract`."""

from xentlab.losses.calibrated import brier, dual_focal, flsd53
from xentlab.losses.compound import compound
from xentlab.losses.contract import LossSpec, loss, spec_of
from xentlab.losses.cross_entropy import ce, custom_ce, focal, label_smoothing, logit_norm, poly1, taylor_ce, z_loss
from xentlab.losses.dense import dice, focal_tversky, generalised_dice, jaccard, log_cosh_dice, squared_dice, tversky
from xentlab.losses.densities import beta_nll, gaussian_nll, laplace_nll, quantiles, student_t_nll
from xentlab.losses.deviances import gamma_deviance, mape, msle, poisson_nll, smape, tweedie
from xentlab.losses.distance import (
    cauchy_schwarz,
    cosine,
    expectation,
    huber,
    log_cosh,
    mae,
    mse,
    mse_logits,
    quadratic_sigmoid,
    simplex_square,
    tanimoto,
)
from xentlab.losses.entropies import js, kl, topk_ce, tsallis
from xentlab.losses.histogram import hl_gauss, two_hot
from xentlab.losses.lovasz import lovasz_softmax
from xentlab.losses.margin import cubed_hinge, hinge, margin_smoothing, multi_margin, ovr_hinge, squared_hinge
from xentlab.losses.multilabel import asl, bce, bp_mll, focal_bce, hill, multilabel_soft_margin, sigmoid_f1, zlpr
from xentlab.losses.priors import class_balanced, ldam, logit_adjusted
from xentlab.losses.residual import expectile, general_robust, quantile, tukey
from xentlab.losses.robust import (
    bootstrap_hard,
    bootstrap_soft,
    gce,
    linear,
    nce,
    nce_mae,
    nce_rce,
    phuber_ce,
    phuber_gce,
    rce,
    sce,
)
