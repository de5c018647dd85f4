"""The compiled step: forward, backward and optimiser over what is computed of a pruned network, on one core.

    forward    z[r]    = b[r] + sum_j w[r, j] * x[j]            (image by image)
               h       = z * gain,  gain = (1 where z > 0, else slope) * dropout
    loss       d       = (softmax(z) - onehot(y)) / B           (output layer)
    backward   d_in[j] = gain[j] * sum_r w[r, j] * d[r]
               g[r, j] = sum over images of d[r] * x[j];   g of b[r] = sum over images of d[r]

Activations lie unit by unit with the images of a batch side by side, 64 of them a *panel*: (panels, units, 64).
A panel's row is 256 bytes, aligned to 64. All arrays are flat; a record of LAYER says where each layer's things begin.

An input is *lit* in an image where it is not *dark*: 0, or the pixel's commonest value where none is 0.
An input is *still* where it is the same in every training image.

The files, each of which imports only from those above it:

    cache         numba's cache on disk, which follows every file here
    records       sizes, and what the kernels are given
    llvm          a type for registers, and LLVM's instructions on vectors
    lanes         operations on lanes: numbers held in registers
    memory        between memory and lanes
    placing       arrays that survivors are put into, layer after layer
    bias          biases, and still inputs
    optimiser     sgd, momentum, Adam and AdamW
    sparse        a kind of layer: surviving weights in rows
    dense         a kind of layer: tiles of 6 x 64 weights
    kinds         the kinds of layers, and the one branch between them
    activations   ReLU, leaky ReLU and dropout
    loss          softmax, cross-entropy, accuracy
    batches       a batch laid out from rows of bytes
    step          steps of training, and the measuring of images
    inference     a chain of layers, forward alone, in one call
    halves        bfloat16 in memory
    amx           the CPU's own tiles of bfloat16
    bfloat16      a step with dense layers in those tiles
    connected     linear layers: what is computed of each, and where it lies
    pixels        what is known of a data set's pixels
    plan          what is computed of an MLP, and where it lies

The folder `conv` has the same for chains of convolutions, and imports from here.
"""
