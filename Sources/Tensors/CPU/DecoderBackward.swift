internal import CKernels
internal import Glibc
internal import Platform

/// The decoder's backward over groups of tokens: what was not kept of a group's maps is computed again, so the full-resolution map never
/// exists. The first stages keep a whole group; the later ones and the head go through it in parts, whose maps stay small. Every
/// product is spread over all threads, and sums over tokens are added part by part, in order. The first stage's weight is the largest: its
/// products wait until all groups of an image are done, so that its parts are packed one at a time.
final class DecoderBackward {
  /// Tokens of a part.
  private static let partTokens = 56
  private static let wideStages = 2
  private static let epsilon: Float = 1e-6

  /// One stage's weights, maps and gradients. Rows are those of the stage's input: [rows, (quadrant, output)].
  private struct Stage {
    let inputs, outputs: Int
    /// Per tap, or one: of the forward product, and of the gradient with respect to the input.
    var forward: [ProductPanels] = []
    var backward: [ProductPanels] = []
    let bias, normWeight, normBias: Tensor
    /// Before the norm, after GELU, and the gradient of the latter, which becomes that of the former.
    /// The first is the forward's where that was kept.
    var before: UnsafeMutablePointer<Float>
    let after, slope: UnsafeMutablePointer<Float>
    /// What the pointers point to.
    let maps: [Tensor]
    /// The parameter's own, in the order [inputs, (quadrant, output)] until the end.
    var weightGradient: Tensor?
    /// Conv bias, norm weight, norm bias, each [outputs].
    let sums: Tensor
  }

  private let device: CPUDevice
  private let precision: Precision
  private let taps: Int
  private let weights: DecoderWeights
  private let gradients: DecoderWeights?
  /// The gradient of the first convolution's output, all tokens of an image; nil where it takes the place of what was kept.
  private let firstSlopes: Tensor?
  /// A row of a stage's weight for every thread.
  private let rows: Tensor
  private let classes, channels: Int
  private var stages: [Stage] = []
  private let wideCount: Int
  private let headForward: ProductPanels
  private let headWeightGradient, headBiasGradient: Tensor
  private let headSlope: Tensor
  private let pixelOrder: Buffer

  init(
    _ device: CPUDevice, _ weights: DecoderWeights, taps: Int, patches: Int, _ precision: Precision, gradients: DecoderWeights?, kept: Int,
    _ workspace: Workspace
  ) throws(MedDINOError) {
    self.device = device
    self.precision = precision
    self.taps = taps
    self.weights = weights
    self.gradients = gradients
    let firstWidth = weights.stages.first.map { 4 * $0.weight.shape[1] } ?? 0
    firstSlopes = kept > 0 ? nil : try workspace.tensor("decoder first gradient", [patches, firstWidth])
    wideCount = min(Self.wideStages, weights.stages.count)
    classes = weights.headWeight.shape[0]
    channels = weights.headWeight.shape[1]
    let part = min(Self.partTokens, patches)
    headSlope = try workspace.tensor("decoder head gradient", [part << (2 * weights.stages.count), classes])
    guard let head = Matrix(weights.headWeight, columns: channels) else { throw MedDINOError(.internal, "a decoder without a head") }
    headForward = try device.panels(head, columns: channels, depth: classes, turned: true, precision)
    headWeightGradient = try Tensor([classes, channels], in: device.budget, "decoder head gradient")
    headBiasGradient = try Tensor([classes], in: device.budget, "decoder head gradient")
    device.fill(headWeightGradient, 0)
    device.fill(headBiasGradient, 0)
    let widest = weights.stages.map { 4 * $0.weight.shape[1] }.max() ?? 0
    rows = try device.scratch.tensor([device.pool.width, widest], "decoder weight rows")
    pixelOrder = try DecoderRun.order(stages: weights.stages.count, device.budget)
    for (index, stage) in weights.stages.enumerated() {
      let tokens = min(index < wideCount ? DecoderRun.groupTokens : Self.partTokens, patches)
      stages.append(try makeStage(index, stage, rows: tokens << (2 * index), isKept: index < kept, workspace))
    }
    for stage in stages {
      if let gradient = stage.weightGradient { DecoderStageWeight.turn(gradient, back: false, rows: rows, device) }
    }
  }

  private func makeStage(
    _ index: Int, _ stage: DecoderWeights.Stage, rows: Int, isKept: Bool, _ workspace: Workspace
  ) throws(MedDINOError) -> Stage {
    let (inputs, outputs) = (stage.weight.shape[0], stage.weight.shape[1])
    let n = 4 * outputs
    var maps: [Tensor] = []
    for name in ["before", "stage", "gradient"] {  // "stage" is the forward's, which has ended
      maps.append(try workspace.tensor("decoder \(name) \(index)", name == "before" && isKept ? [1, 1] : [rows, n]))
    }
    let sums = try Tensor([3 * outputs], in: device.budget, "decoder gradient")
    device.fill(sums, 0)
    guard let before = maps[0].floats.baseAddress, let after = maps[1].floats.baseAddress, let slope = maps[2].floats.baseAddress else {
      throw MedDINOError(.internal, "a decoder stage without channels")
    }
    var made = Stage(
      inputs: inputs, outputs: outputs, bias: try DecoderStageWeight.repeatedBias(stage.bias, device.budget), normWeight: stage.normWeight,
      normBias: stage.normBias, before: before, after: after, slope: slope, maps: maps, sums: sums)
    for rows in DecoderStageWeight.parts(stage, index == 0 ? taps : 1) {
      let turned = try DecoderStageWeight(device, stage, rows)
      guard let matrix = turned.matrix else { continue }
      if !isKept { made.forward.append(try device.panels(matrix, columns: n, depth: rows.count, turned: true, precision)) }
      if index > 0 {
        made.backward.append(try device.panels(matrix, columns: rows.count, depth: n, turned: false, precision))
      }
      withExtendedLifetime(turned) {}
    }
    if let gradient = gradients?.stages[index].weight { made.weightGradient = gradient.reshaped([inputs, n]) }
    return made
  }

  /// inputs: per tap, the image's patch tokens; logits: the gradient's planes of the image; kept: the image's maps of the first stages.
  func group(
    _ inputs: [Matrix], _ tokens: Range<Int>, _ grid: DecoderRun.Grid, _ logits: UnsafePointer<Float>,
    _ kept: [UnsafeMutablePointer<Float>]
  ) throws(MedDINOError) {
    let sources = inputs.map { $0.advanced(row: tokens.lowerBound) }
    for index in 0..<wideCount {
      if index < kept.count { take(kept, index, tokens.lowerBound) }
      try forward(index, index == 0 ? sources : [map(index - 1)], rows: tokens.count << (2 * index))
    }
    var first = 0
    while first < tokens.count {
      let count = min(Self.partTokens, tokens.count - first)
      try part(tokens.lowerBound + first..<tokens.lowerBound + first + count, at: first, grid, logits, kept)
      first += count
    }
    for index in (0..<wideCount).reversed() {
      if index > 0 {
        try backward(index, map(index - 1), rows: tokens.count << (2 * index), into: stages[index - 1].slope)
      } else {
        try normBackward(0, rows: tokens.count)
        let width = 4 * stages[0].outputs
        slopes(kept)?.advanced(by: tokens.lowerBound * width).update(from: stages[0].slope, count: tokens.count * width)
      }
    }
  }

  /// The products of the first stage, after the groups of an image. inputs, kept: as of `group`; outputs: the tap gradients or none.
  func firstStage(
    _ inputs: [Matrix], patches: Int, _ kept: [UnsafeMutablePointer<Float>], _ outputs: [UnsafeMutablePointer<Float>]
  ) throws(MedDINOError) {
    guard let base = slopes(kept) else { return }
    let stage = stages[0]
    let (n, width) = (4 * stage.outputs, stage.inputs / taps)
    var first = 0
    while let gradient = stage.weightGradient?.floats.baseAddress, first < patches {
      let count = min(Self.firstRows, patches - first)
      let slope = try device.panels(
        Matrix(UnsafePointer(base) + first * n, stride: n), columns: n, depth: count, turned: true, precision)
      for (tap, source) in inputs.enumerated() {
        try device.multiply(
          source.advanced(row: first), turned: true, rows: width, slope, into: gradient + tap * width * n, stride: n, adds: true,
          narrowest: 192)
      }
      first += count
    }
    for (rows, target) in zip(DecoderStageWeight.parts(weights.stages[0], taps), outputs) {
      let turned = try DecoderStageWeight(device, weights.stages[0], rows)
      guard let matrix = turned.matrix else { continue }
      let panels = try device.panels(matrix, columns: width, depth: n, turned: false, precision)
      try device.multiply(Matrix(UnsafePointer(base), stride: n), rows: patches, panels, into: target, stride: width)
      withExtendedLifetime(turned) {}
    }
  }
  /// Tokens whose gradients are packed at once.
  private static let firstRows = 768
  private func slopes(_ kept: [UnsafeMutablePointer<Float>]) -> UnsafeMutablePointer<Float>? {
    kept.first ?? firstSlopes?.floats.baseAddress
  }

  /// The later stages and the head of some tokens, forth and back; `at` is the first token's place in the group.
  private func part(
    _ tokens: Range<Int>, at first: Int, _ grid: DecoderRun.Grid, _ logits: UnsafePointer<Float>, _ kept: [UnsafeMutablePointer<Float>]
  ) throws(MedDINOError) {
    let count = tokens.count
    let perToken = stages[wideCount - 1].outputs << (2 * wideCount)
    let entry = map(wideCount - 1, from: first * perToken)
    let entrySlope = stages[wideCount - 1].slope + first * perToken
    for index in wideCount..<stages.count {
      if index < kept.count { take(kept, index, tokens.lowerBound) }
      try forward(index, [index == wideCount ? entry : map(index - 1)], rows: count << (2 * index))
    }
    let last = stages.count - 1
    let isWide = wideCount == stages.count
    try head(
      tokens, grid, logits, pixels: isWide ? entry : map(last), slope: isWide ? entrySlope : stages[last].slope)
    for index in (wideCount..<stages.count).reversed() {
      let isFirst = index == wideCount
      try backward(
        index, isFirst ? entry : map(index - 1), rows: count << (2 * index), into: isFirst ? entrySlope : stages[index - 1].slope)
    }
  }

  /// What the forward kept of a stage, from a token on.
  private func take(_ kept: [UnsafeMutablePointer<Float>], _ index: Int, _ token: Int) {
    stages[index].before = kept[index] + token * (stages[index].outputs << (2 * (index + 1)))
  }

  private func map(_ index: Int, from offset: Int = 0) -> Matrix {
    Matrix(UnsafePointer(stages[index].after) + offset, stride: stages[index].outputs)
  }

  // MARK: one stage

  private func forward(_ index: Int, _ sources: [Matrix], rows: Int) throws(MedDINOError) {
    let stage = stages[index]
    let n = 4 * stage.outputs
    for (tap, source) in sources.enumerated() where !stage.forward.isEmpty {
      let isLast = tap == sources.count - 1
      try device.multiply(
        source, rows: rows, stage.forward[tap], bias: isLast ? stage.bias.floats.baseAddress.map { UnsafePointer($0) } : nil,
        into: stage.before, stride: n, adds: tap > 0)
    }
    let kernels = device.kernels
    device.pool.forBlocks(of: rows, grain: 64) { block in
      let to = stage.after + block.lowerBound * n
      memcpy(to, stage.before + block.lowerBound * n, block.count * n * MemoryLayout<Float>.size)
      kernels.layer_norm_gelu(
        to, stage.normWeight.floats.baseAddress, stage.normBias.floats.baseAddress, Int64(4 * block.count), Int64(stage.outputs),
        Self.epsilon)
    }
  }

  /// The gradient of the stage's output becomes that of the convolution's output, and gives those of the smaller parameters.
  private func normBackward(_ index: Int, rows: Int) throws(MedDINOError) {
    let stage = stages[index]
    let (n, outputs) = (4 * stage.outputs, stage.outputs)
    let kernels = device.kernels
    try device.addPartialSums(rows: rows, columns: n, to: stage.sums.floats.baseAddress, count: 3 * outputs) { block, partial in
      let slope = stage.slope + block.lowerBound * n
      kernels.layer_norm_gelu_backward(
        stage.before + block.lowerBound * n, stage.normWeight.floats.baseAddress, stage.normBias.floats.baseAddress, slope,
        partial + outputs, partial + 2 * outputs, Int64(4 * block.count), Int64(outputs), Self.epsilon)
      kernels.column_sums(slope, Int64(outputs), Int64(4 * block.count), Int64(outputs), partial)
    }
  }

  /// A later stage: the gradients of all its parameters and of its input.
  private func backward(_ index: Int, _ source: Matrix, rows: Int, into target: UnsafeMutablePointer<Float>) throws(MedDINOError) {
    try normBackward(index, rows: rows)
    let stage = stages[index]
    let n = 4 * stage.outputs
    let slope = Matrix(UnsafePointer(stage.slope), stride: n)
    if let gradient = stage.weightGradient?.floats.baseAddress {
      try device.addTurnedProduct(source, rows: stage.inputs, slope, columns: n, depth: rows, precision, to: gradient, stride: n)
    }
    for panels in stage.backward { try device.multiply(slope, rows: rows, panels, into: target, stride: panels.columns) }
  }

  // MARK: the head

  private func head(
    _ tokens: Range<Int>, _ grid: DecoderRun.Grid, _ logits: UnsafePointer<Float>, pixels: Matrix, slope: UnsafeMutablePointer<Float>
  ) throws(MedDINOError) {
    let rows = tokens.count << (2 * stages.count)
    guard let outer = Matrix(headSlope, columns: classes) else { return }
    gather(tokens, grid, logits)
    if gradients != nil {
      if let target = headWeightGradient.floats.baseAddress {
        try device.addTurnedProduct(
          outer, rows: classes, Matrix(pixels.pointer, stride: channels), columns: channels, depth: rows, precision, to: target,
          stride: channels)
      }
      if let target = headBiasGradient.floats.baseAddress {
        try device.addColumnSums(outer, rows: rows, columns: classes, to: target)
      }
    }
    try device.multiply(outer, rows: rows, headForward, into: slope, stride: channels)
  }

  /// The planes' gradient of some tokens as rows of pixels.
  private func gather(_ tokens: Range<Int>, _ grid: DecoderRun.Grid, _ logits: UnsafePointer<Float>) {
    let perToken = grid.patch * grid.patch
    let width = grid.columns * grid.patch
    let plane = grid.rows * grid.patch * width
    guard let order = pixelOrder.elements(Int32.self).baseAddress, let base = headSlope.floats.baseAddress else { return }
    let classes = classes
    device.pool.forEach(tokens.count) { index in
      let token = tokens.lowerBound + index
      let corner = token / grid.columns * grid.patch * width + token % grid.columns * grid.patch
      let to = base + index * perToken * classes
      for c in 0..<classes {
        let from = logits + c * plane + corner
        for y in 0..<grid.patch {
          for x in 0..<grid.patch { to[Int(order[y * grid.patch + x]) * classes + c] = from[y * width + x] }
        }
      }
    }
  }

  // MARK: the sums

  /// Gives the weights' gradients the order of their parameters again: the last thing done with them, come what may.
  func turnBack() {
    for stage in stages {
      if let gradient = stage.weightGradient { DecoderStageWeight.turn(gradient, back: true, rows: rows, device) }
    }
  }

  /// The smaller sums.
  func addSums(to gradients: DecoderWeights) {
    for (stage, target) in zip(stages, gradients.stages) {
      let outputs = stage.outputs
      device.add(stage.sums.rows(0..<outputs), factor: 1, to: target.bias)
      device.add(stage.sums.rows(outputs..<2 * outputs), factor: 1, to: target.normWeight)
      device.add(stage.sums.rows(2 * outputs..<3 * outputs), factor: 1, to: target.normBias)
    }
    device.add(headWeightGradient, factor: 1, to: gradients.headWeight)
    device.add(headBiasGradient, factor: 1, to: gradients.headBias)
  }
}
