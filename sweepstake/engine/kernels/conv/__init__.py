"""Convolutions: a chain of them, and of linear layers behind, forward, back and stepped on one core.

    forward    z[u, y, x] = b[u] + sum over survivors of w[u, c, j, i] * h[c, y + j, x + i]
               h = (leaky) ReLU of z, then the largest or the average of each two by two
    backward   the same sum over the turned survivors, of the gradient of z
               g[u, c, j, i] = sum over images and positions of d[u, y, x] * h[c, y + j, x + i]

16 images lie side by side, a *strip*: (channels, rows, columns, 16), with a border of zeros, so that a kernel's every
shift is one run of memory. A *tile* of positions is held in registers while survivors stream past. What stands behind a
sum, activation and pooling on the way there and their gradients on the way back, is done before a tile leaves them.
It is the plan of SkimCaffe (Park et al. 2017) and of Elsen et al. (2020), who have it for inference, taken to training.

The files, each of which imports only from those above it:

    records   what the kernels are given
    sizes     which sizes of them are compiled
    emit      instructions on lanes, the streaming of survivors, activation and pooling
    tiles     of sparse layers: positions of one output
    blocks    of dense layers: a few positions of several outputs
    transforms  of dense layers of 3 x 3: Winograd's
    where     where things lie
    sparse    a sparse convolution
    dense     a dense one
    winograd  a dense one in fewer products
    passes    the passes over all convolutions
    step      steps of training, and the measuring of images
    places    where survivors lie
    plan      what is computed of a network, and where it lies
"""
