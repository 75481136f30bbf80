"""tools/linear_eval.py: from a checkpoint to linear_eval.json and a table, or from all that a run kept."""

import torch
from rich.console import Console

from ssl_norm.commands.checkpoint_inputs import find_checkpoint, find_output, untrained_encoder
from ssl_norm.commands.kept_checkpoints import evaluate_kept
from ssl_norm.commands.probing import evaluation_of, load_labelled, load_probed
from ssl_norm.config import LinearEvalConfig
from ssl_norm.evaluate.record import evaluation_record, evaluation_table, record_name
from ssl_norm.train.device import pick_device
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.run_folder import write_json


def linear_eval(config: LinearEvalConfig) -> None:
    """Evaluate the encoder of a checkpoint, or of every kept one of a run, write JSON and print a table.

    Raises:
        UserError: the checkpoint, the data or the settings do not allow it.
    """
    device = pick_device(config.device)
    if config.kept:
        evaluate_kept(config, device)
    else:
        evaluate_one(config, device)


def evaluate_one(config: LinearEvalConfig, device: torch.device) -> None:
    """Evaluate the encoder of one checkpoint, write linear_eval.json and print a table."""
    checkpoint = find_checkpoint(config.checkpoint)
    output = find_output(config.output, checkpoint, record_name("linear_eval", config.network))
    probed = load_probed(config, checkpoint)
    train, test = load_labelled(probed.subject)
    evaluate = evaluation_of(config, probed.subject, train, test, device)
    trained = evaluate(probed.encoder)
    random_init = evaluate(untrained_encoder(probed.subject)) if config.random_init else None
    record = evaluation_record(config, probed.subject, trained, random_init)
    record |= {
        "test_images": len(test),
        "checkpoint": str(checkpoint),
        "network": config.network,
        "step": probed.step,
        "match": probed.match,
        "environment": describe_environment(device),
    }
    write_json(output, record)
    Console().print(evaluation_table(trained, random_init))
    Console().print(f"written to {output}", highlight=False, soft_wrap=True, markup=False)
