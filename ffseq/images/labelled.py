"""The first layer on images with a label in their first pixels: one product of the image serves all its labels.

Only the label's pixels and the row's scale differ between labels, so with x the image whose first C pixels are zero,
p_c the pixels of code c and r = √(I / (|x|² + |p_c|²)), which brings the row to a mean square of one,

    a = r (x W + p_c W[:C]) + b        ΔW = xᵀ Σ_c r_c δ_c,  ΔW[:C] = Σ_c p_c r_c δ_c

Shape letters: B images, m codes of each, I pixels, C classes, H units. Rows come code by code: row i·B + b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ffseq.images.labels import label_pixels
from ffseq.products import outer


@dataclass(frozen=True)
class Images:
    """A batch without labels: pixels x (B, I) in the type of the products, the first C zero; squares: |x|² (B,)."""

    pixels: Tensor
    squares: Tensor
    classes: int

    @staticmethod
    def of(images: Tensor, classes: int, products: torch.dtype) -> Images:
        """From images (B, I) float32."""
        pixels = images.clone()
        pixels[:, :classes] = 0
        return Images(pixels.to(products), pixels.square().sum(1), classes)

    def scale(self, codes: Tensor) -> Tensor:
        """r (m, B) float32 for codes (m, B) int64."""
        norms = label_pixels(self.classes).square().sum(1).to(self.squares.device)
        return math.sqrt(self.pixels.shape[1]) / (self.squares + norms[codes]).sqrt()


def first_product(images: Images, weight: Tensor) -> Tensor:
    """x W (B, H), which all labels share."""
    return images.pixels @ weight


def first_activity(images: Images, product: Tensor, codes: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """h = ReLU(a), (m·B, H) in the type of the product, of the images with each of their codes (m, B) int64."""
    table = label_pixels(images.classes).to(weight) @ weight[: images.classes]
    pre = table[codes].add_(product)
    pre.mul_(images.scale(codes).to(pre.dtype)[..., None]).add_(bias.to(pre.dtype))
    return pre.relu_().flatten(0, 1)


def first_change(images: Images, codes: Tensor, delta: Tensor, out: dict[str, Tensor]) -> dict[str, Tensor]:
    """Changes of the first layer, written to `out` (float32). delta: δ (m·B, H); codes: (m, B)."""
    torch.sum(delta, 0, dtype=torch.float32, out=out["bias"])
    scaled = delta * images.scale(codes).flatten().to(delta.dtype)[:, None]
    of_image = scaled.view(*codes.shape, -1).sum(0)
    outer(images.pixels, of_image, out["weight"])
    pixels = label_pixels(images.classes).to(delta)[codes.flatten()]
    out["weight"][: images.classes].copy_(pixels.t() @ scaled)
    return out
