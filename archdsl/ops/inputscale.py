"""Change of an image's normalisation."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, count, need_map
from archdsl.values import Scratch, Shape, TorchCall, TorchForm

_HELPER = '''
class InputScale(nn.Module):
    """From the mean and deviation of ImageNet's channels to 0.5 and 0.5."""

    def forward(self, x: Tensor) -> Tensor:
        red = x[:, 0:1] * (0.229 / 0.5) + (0.485 - 0.5) / 0.5
        green = x[:, 1:2] * (0.224 / 0.5) + (0.456 - 0.5) / 0.5
        blue = x[:, 2:3] * (0.225 / 0.5) + (0.406 - 0.5) / 0.5
        return torch.cat([red, green, blue], 1)
'''


class InputScale(Layer):
    """Change the normalisation of an image from ImageNet's to 0.5: `inputscale`.

    Each channel is multiplied by deviation / 0.5, and (mean - 0.5) / 0.5 is added.

    Source: torchvision's `transform_input` of GoogLeNet and Inception-v3, whose
    weights were trained that way.
    """

    word = "inputscale"
    channelwise = True

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        if need_map(inputs[0], self.word)[0] != 3:
            raise Mismatch(
                f"inputscale needs the 3 channels of an image, not {int(inputs[0][0])}",
                help="put it right after the input",
            )
        return inputs[0]

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return one multiplication and one addition per element."""
        return 2 * count(output)

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the channels one by one; gradients of the whole for each of them."""
        elements = count(output)
        return Scratch(elements, elements, 2 * elements)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a class of its own."""
        return TorchForm(TorchCall("InputScale"), helper=_HELPER)
