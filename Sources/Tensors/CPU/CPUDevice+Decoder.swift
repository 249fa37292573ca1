internal import CKernels
public import Platform

extension CPUDevice {
  public func decode(
    _ taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, _ decoder: PackedDecoder, into logits: Tensor,
    workspace: Workspace, control: RunControl, progress: ClosedRange<Double>
  ) throws(MedDINOError) {
    try decode(
      taps, prefixTokens: prefixTokens, rows: rows, columns: columns, decoder, into: logits, keeping: [], workspace: workspace,
      control: control, progress: progress)
  }

  /// `kept`: as in `TrainingDevice.decode`.
  func decode(
    _ taps: [Tensor], prefixTokens: Int, rows: Int, columns: Int, _ decoder: PackedDecoder, into logits: Tensor, keeping kept: [Tensor],
    workspace: Workspace, control: RunControl, progress: ClosedRange<Double>
  ) throws(MedDINOError) {
    let run = try DecoderRun(self, decoder, patches: rows * columns, workspace)
    let (batch, perImage, dim) = (taps[0].shape[0], taps[0].shape[1], taps[0].shape[2])
    for image in 0..<batch {
      let first = (image * perImage + prefixTokens) * dim
      let inputs = taps.compactMap { tap in tap.floats.baseAddress.map { UnsafePointer($0 + first) } }
      let planes = logits.count / batch
      guard let target = logits.floats.baseAddress.map({ $0 + image * planes }) else { continue }
      let grid = DecoderRun.Grid(rows: rows, columns: columns, patch: decoder.patchSize)
      var token = 0
      while token < rows * columns {
        let done = (Double(image) + Double(token) / Double(rows * columns)) / Double(batch)
        try control.update(progress.lowerBound + (progress.upperBound - progress.lowerBound) * done)
        let count = min(DecoderRun.groupTokens, rows * columns - token)
        run.decodeGroup(inputs, token..<token + count, grid, target, DecoderRun.images(kept, image, of: batch))
        token += count
      }
    }
  }
}

/// The decoder over groups of tokens. A 2×2, stride 2 transposed convolution is a product per pixel followed by a pixel shuffle;
/// rows stay in the order (token, quadrant of stage 1, quadrant of stage 2, …), so nothing is moved until the logits are written.
///
/// The first stages have few rows per token and large weights: a whole group goes through them on all threads. The later ones
/// have many rows and small weights: each lane takes a few tokens through all of them while they are in its cache.
struct DecoderRun {
  struct Grid {
    let rows: Int
    let columns: Int
    let patch: Int
  }
  /// Tokens that go through the wide stages together.
  static let groupTokens = 448
  private static let wideStages = 2
  private static let laneTokens = 16

  private let device: CPUDevice
  private let decoder: PackedDecoder
  private let layers: [[CPUPackedLinear]]
  private let head: CPUPackedLinear
  private let wide: [Tensor]
  private let narrow: [Tensor]
  private let headOut: Tensor
  private let scratch: Buffer
  private let scratchBytes: Int
  private let pixelOrder: Buffer
  private var wideCount: Int { wide.count }

  init(_ device: CPUDevice, _ decoder: PackedDecoder, patches: Int, _ workspace: Workspace) throws(MedDINOError) {
    self.device = device
    self.decoder = decoder
    var layers: [[CPUPackedLinear]] = []
    for stage in decoder.stages { layers.append(stage.layers.compactMap { $0 as? CPUPackedLinear }) }
    guard let head = decoder.head as? CPUPackedLinear, zip(layers, decoder.stages).allSatisfy({ $0.count == $1.layers.count }) else {
      throw MedDINOError(.internal, "a decoder packed for another device")
    }
    self.layers = layers
    self.head = head
    let wideCount = min(Self.wideStages, decoder.stages.count)
    let lanes = device.laneCount(Self.groupTokens / Self.laneTokens)
    let group = min(Self.groupTokens, max(patches, 1))
    var (wide, narrow): ([Tensor], [Tensor]) = ([], [])
    for (index, stage) in decoder.stages.enumerated() {
      let width = stage.outputs << (2 * (index + 1))  // floats per token after this stage
      if index < wideCount {
        wide.append(try workspace.tensor("decoder stage \(index)", [group, width]))
      } else {
        narrow.append(try workspace.tensor("decoder stage \(index)", [lanes, Self.laneTokens * width]))
      }
    }
    self.wide = wide
    self.narrow = narrow
    headOut = try workspace.tensor("decoder head", [lanes, Self.laneTokens * decoder.classes << (2 * decoder.stages.count)])
    scratchBytes = (layers.joined().map(device.productScratch) + [device.productScratch(head)]).max() ?? 0
    scratch = try workspace.buffer("decoder product", scratchBytes * max(lanes, device.pool.width))
    pixelOrder = try Self.order(stages: decoder.stages.count, device.budget)
  }

  /// The row of each pixel (y, x) of a patch among the rows of its token.
  static func order(stages: Int, _ budget: MemoryBudget) throws(MedDINOError) -> Buffer {
    let patch = 1 << stages
    let result = try budget.allocate(patch * patch * MemoryLayout<Int32>.size, "decoder pixel order")
    let rows = result.elements(Int32.self)
    for pixel in 0..<patch * patch {
      let (y, x) = (pixel >> stages, pixel & (patch - 1))
      var row = 0
      for bit in (0..<stages).reversed() { row = row << 2 | (y >> bit & 1) << 1 | x >> bit & 1 }
      rows[pixel] = Int32(row)
    }
    return result
  }

  /// The part of each kept map that belongs to an image.
  static func images(_ kept: [Tensor], _ image: Int, of batch: Int) -> [UnsafeMutablePointer<Float>] {
    kept.compactMap { map in map.floats.baseAddress.map { $0 + image * (map.count / batch) } }
  }

  /// inputs: per tap, the image's patch tokens [patches, dim]; writes the logits of the tokens of the range, and what is kept of the
  /// first stages.
  func decodeGroup(
    _ inputs: [UnsafePointer<Float>], _ tokens: Range<Int>, _ grid: Grid, _ logits: UnsafeMutablePointer<Float>,
    _ kept: [UnsafeMutablePointer<Float>]
  ) {
    var current: UnsafePointer<Float>?
    var rows = tokens.count
    for index in 0..<wideCount {
      let sources = index == 0 ? zip(inputs, layers[0]).map { $0 + tokens.lowerBound * $1.inputs } : [current].compactMap { $0 }
      wideStage(index, sources, rows: rows, keeping: place(kept, index, tokens.lowerBound), into: wide[index])
      current = wide[index].floats.baseAddress.map { UnsafePointer($0) }
      rows *= 4
    }
    guard let entry = current else { return }
    let perToken = decoder.stages[wideCount - 1].outputs << (2 * wideCount)
    let pieces = (tokens.count + Self.laneTokens - 1) / Self.laneTokens
    device.forEachLane(pieces) { lane, piece in
      let first = piece * Self.laneTokens
      let count = min(Self.laneTokens, tokens.count - first)
      let range = tokens.lowerBound + first..<tokens.lowerBound + first + count
      writeHead(lane, narrowStages(lane, entry + first * perToken, range, kept), range, grid, logits)
    }
  }

  /// Where a stage's convolution of a token is kept, if it is.
  private func place(_ kept: [UnsafeMutablePointer<Float>], _ index: Int, _ token: Int) -> UnsafeMutablePointer<Float>? {
    index < kept.count ? kept[index] + token * (decoder.stages[index].outputs << (2 * (index + 1))) : nil
  }

  private func wideStage(
    _ index: Int, _ sources: [UnsafePointer<Float>], rows: Int, keeping kept: UnsafeMutablePointer<Float>?, into output: Tensor
  ) {
    let stage = decoder.stages[index]
    let n = 4 * stage.outputs
    guard let result = output.floats.baseAddress else { return }
    let target = kept ?? result
    let tiling = device.tiling(rows: rows, columns: n)
    // A stage without weights was convolved before, into what is kept.
    device.forEachLane(layers[index].isEmpty ? 0 : tiling.count) { lane, task in
      let tile = tiling[task]
      for (tap, layer) in layers[index].enumerated() {
        var args = device.productArguments(layer, rows: tile.rows.count, columns: tile.columns)
        args.a = UnsafeRawPointer(sources[tap] + tile.rows.lowerBound * layer.inputs)
        args.accumulate = tap > 0 ? 1 : 0
        if tap == layers[index].count - 1 { args.bias = bias(stage, from: tile.columns.lowerBound) }
        args.c = UnsafeMutableRawPointer(target + tile.rows.lowerBound * n + tile.columns.lowerBound)
        device.multiply(&args, layer.precision, scratch: scratch.pointer + lane * scratchBytes)
      }
    }
    device.pool.forBlocks(of: rows, grain: 64) { block in
      finish(stage, target + block.lowerBound * n, rows: block.count, into: result + block.lowerBound * n)
    }
  }
  private func bias(_ stage: PackedDecoder.Stage, from column: Int) -> UnsafePointer<Float>? {
    stage.bias.floats.baseAddress.map { UnsafePointer($0 + column) }
  }

  /// LayerNorm over channels and GELU of rows [rows * 4, outputs]; the result may take the place of its source.
  private func finish(_ stage: PackedDecoder.Stage, _ x: UnsafeMutablePointer<Float>, rows: Int, into result: UnsafeMutablePointer<Float>) {
    if result != x { result.update(from: x, count: 4 * rows * stage.outputs) }
    device.kernels.layer_norm_gelu(
      result, stage.normWeight.floats.baseAddress, stage.normBias.floats.baseAddress, Int64(4 * rows), Int64(stage.outputs), 1e-6)
  }

  private func narrowStages(
    _ lane: Int, _ entry: UnsafePointer<Float>, _ tokens: Range<Int>, _ kept: [UnsafeMutablePointer<Float>]
  ) -> UnsafePointer<Float> {
    var source = entry
    for index in wideCount..<decoder.stages.count {
      let stage = decoder.stages[index]
      let buffer = narrow[index - wideCount]
      guard let base = buffer.floats.baseAddress else { return source }
      let result = base + lane * buffer.shape[1]
      let target = place(kept, index, tokens.lowerBound) ?? result
      let rows = tokens.count << (2 * index)
      var args = device.productArguments(layers[index][0], rows: rows, columns: 0..<4 * stage.outputs)
      args.a = UnsafeRawPointer(source)
      args.bias = bias(stage, from: 0)
      args.c = UnsafeMutableRawPointer(target)
      device.multiply(&args, layers[index][0].precision, scratch: scratch.pointer + lane * scratchBytes)
      finish(stage, target, rows: rows, into: result)
      source = UnsafePointer(result)
    }
    return source
  }

  private func writeHead(
    _ lane: Int, _ pixels: UnsafePointer<Float>, _ tokens: Range<Int>, _ grid: Grid, _ logits: UnsafeMutablePointer<Float>
  ) {
    let classes = decoder.classes
    guard let base = headOut.floats.baseAddress else { return }
    let out = base + lane * headOut.shape[1]
    let perToken = grid.patch * grid.patch
    var args = device.productArguments(head, rows: tokens.count * perToken, columns: 0..<classes)
    args.a = UnsafeRawPointer(pixels)
    args.c = UnsafeMutableRawPointer(out)
    device.multiply(&args, head.precision, scratch: scratch.pointer + lane * scratchBytes)
    let width = grid.columns * grid.patch
    let plane = grid.rows * grid.patch * width
    guard let order = pixelOrder.elements(Int32.self).baseAddress else { return }
    for (index, token) in tokens.enumerated() {
      let corner = token / grid.columns * grid.patch * width + token % grid.columns * grid.patch
      let from = out + index * perToken * classes
      for c in 0..<classes {  // line by line of a plane: planes lie a large power of two apart and would share cache sets
        let to = logits + c * plane + corner
        for y in 0..<grid.patch {
          for x in 0..<grid.patch { to[y * width + x] = from[Int(order[y * grid.patch + x]) * classes + c] }
        }
      }
    }
  }
}
