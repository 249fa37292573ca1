"""MedDINOv3's fine-tuning step in PyTorch: the loss of nnU-Net for plain labels, AdamW in two groups, clipping."""
import torch
from torch.nn import functional


def dice_and_cross_entropy(logits, targets):
    """Cross entropy over all pixels, and minus the mean soft Dice over the foreground classes, summed over the whole batch.

    logits [B, C, H, W]; targets [B, H, W] of class numbers. Returns both terms; the loss is their sum.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    entropy = functional.cross_entropy(logits, targets)
    probability = logits.softmax(1)
    truth = functional.one_hot(targets, logits.shape[1]).movedim(-1, 1).to(probability.dtype)
    axes = (0, 2, 3)
    shared, total = (probability * truth).sum(axes), probability.sum(axes) + truth.sum(axes)
    dice = (2 * shared + 1e-5) / (total + 1e-5).clamp_min(1e-8)
    return entropy, -dice[1:].mean()


def make_optimizer(network, decoder_rate=3e-4, encoder_rate=3e-5, decay=0.05):
    """AdamW over the decoder's and the encoder's parameters; every parameter decays."""
    parts = ((network.decoder, decoder_rate), (network.encoder, encoder_rate))
    groups = [{"params": list(part.parameters()), "lr": rate} for part, rate in parts]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-8, weight_decay=decay)


def step(network, optimizer, images, targets, clip=12.0, bfloat16=False):
    """One update; returns cross entropy, Dice term and the gradient's norm before clipping."""
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        logits = network(images)
    entropy, dice = dice_and_cross_entropy(logits, targets)
    (entropy + dice).backward()
    # The official encoder adds 0 * mask_token to the class token: a gradient of zero, so that the mask token decays.
    network.encoder.embeddings.mask_token.grad = torch.zeros_like(network.encoder.embeddings.mask_token)
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    return float(entropy.detach()), float(dice.detach()), float(norm)
