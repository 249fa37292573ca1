public import Platform
public import Tensors

/// Counts network calls and turns them into progress over a part of a run.
public struct TileProgress {
  let control: RunControl
  let range: ClosedRange<Double>
  let total: Int
  private(set) var done = 0
  public init(_ control: RunControl, over range: ClosedRange<Double> = 0...1, total: Int) {
    self.control = control
    self.range = range
    self.total = max(total, 1)
  }
  /// Opens the part of one network call, so that the network's own fractions land inside it.
  mutating func open() throws(MedDINOError) {
    let span = range.upperBound - range.lowerBound
    let from = range.lowerBound + span * min(Double(done) / Double(total), 1)
    let to = range.lowerBound + span * min(Double(done + 1) / Double(total), 1)
    done += 1
    try control.begin("segment", from: from, to: to)
  }
}

/// Logits of one prepared slice: members × tiles × mirrorings, added with Gaussian weights.
///
/// All buffers are taken once and used for every slice. Sums are float32, in an order that the shape fixes: members, tiles by rows
/// and columns, mirrorings; so the bits do not depend on the threads.
/// Source: pipeline specification 10.2 to 10.8.
public final class SliceSegmenter {
  public let window: SlidingWindow
  public let classes: Int
  public let channels: Int
  private let networks: [any TileNetwork]
  private let mirrorings: [Mirroring]
  private let pool: ThreadPool
  private let importance: Tensor
  private let planes: Tensor
  private let tile: Tensor
  private let prediction: Tensor
  private let sums: Tensor
  private let weights: Tensor

  /// `rows`, `columns`: extents of a prepared slice; `patch`: [rows, columns] of a tile.
  /// Throws: `.invalid`, `.shape`, `.outOfMemory`.
  public init(
    networks: [any TileNetwork], rows: Int, columns: Int, patch: [Int], tileStep: Double = 0.5, mirrorAxes: [Int] = [0, 1],
    pool: ThreadPool, in budget: MemoryBudget
  ) throws(MedDINOError) {
    guard let first = networks.first else { throw .invalid("no network given, expected at least one member") }
    for network in networks where network.classes != first.classes || network.inputChannels != first.inputChannels {
      throw .shape(
        "members disagree: \(network.inputChannels) channels to \(network.classes) classes, "
          + "expected \(first.inputChannels) to \(first.classes)")
    }
    window = try SlidingWindow(rows: rows, columns: columns, tileRows: patch[0], tileColumns: patch[1], step: tileStep)
    mirrorings = try Mirroring.all(axes: mirrorAxes)
    classes = first.classes
    channels = first.inputChannels
    self.networks = networks
    self.pool = pool
    let height = window.rows.paddedSize, width = window.columns.paddedSize
    importance = try GaussianImportance.map(rows: patch[0], columns: patch[1], in: budget)
    planes = try Tensor([channels, height, width], in: budget, "slice")
    tile = try Tensor([channels, patch[0], patch[1]], in: budget, "tile")
    prediction = try Tensor([classes, patch[0], patch[1]], in: budget, "tile logits")
    sums = try Tensor([classes, height, width], in: budget, "slice logits")
    weights = try Tensor([height, width], in: budget, "tile weights")
    addWeights()
  }

  /// Bytes that the buffers take.
  static func byteCount(window: SlidingWindow, channels: Int, classes: Int) throws(MedDINOError) -> Int {
    let what = "slice logits"
    let plane = try Checked.product([window.rows.paddedSize, window.columns.paddedSize], what, kind: .shape)
    let patch = try Checked.product([window.rows.tile, window.columns.tile], what, kind: .shape)
    let perSlice = try Checked.product([plane, channels + classes + 1, 4], what, kind: .shape)
    let perTile = try Checked.product([patch, channels + classes + 1, 4], what, kind: .shape)
    return try Checked.sum(perSlice, perTile, what, kind: .shape)
  }

  /// Where the caller puts the prepared slice before `segment`. Shapes: [channels, rows, columns], dense.
  public var input: UnsafeMutablePointer<Float> { planes.pointer.assumingMemoryBound(to: Float.self) }
  /// The logits after `segment`: [classes, rows, columns], planes `planeStride` floats apart. The caller may overwrite them.
  public var logits: UnsafeMutablePointer<Float> { sums.pointer.assumingMemoryBound(to: Float.self) }
  public var planeStride: Int { window.rows.paddedSize * window.columns.paddedSize }
  /// Network calls for a slice of which the given part is needed.
  public func calls(rows: Range<Int>, columns: Range<Int>) -> Int {
    let tiles = window.rows.startsTouching(rows).count * window.columns.startsTouching(columns).count
    return tiles * networks.count * mirrorings.count
  }

  /// Turns `input` into `logits`. Only the tiles that hold needed pixels are computed; logits elsewhere mean nothing.
  /// Throws: `.cancelled`, `.internal` when the network gives NaN or infinity, whatever the network throws.
  public func segment(
    rows: Range<Int>? = nil, columns: Range<Int>? = nil, progress: inout TileProgress
  ) throws(MedDINOError) {
    TileArithmetic.pad(input, channels: channels, rows: window.rows, columns: window.columns)
    let sums = logits
    let stride = planeStride
    pool.forEach(classes) { (sums + $0 * stride).update(repeating: 0, count: stride) }
    let tops = window.rows.startsTouching(rows ?? 0..<window.rows.size)
    let lefts = window.columns.startsTouching(columns ?? 0..<window.columns.size)
    for network in networks {
      for top in tops {
        for left in lefts { try addTile(network, top, left, &progress) }
      }
    }
    try finish()
  }

  private func addTile(_ network: any TileNetwork, _ top: Int, _ left: Int, _ progress: inout TileProgress) throws(MedDINOError) {
    let tileRows = window.rows.tile, tileColumns = window.columns.tile
    let width = window.columns.paddedSize
    let count = tileRows * tileColumns
    let stride = planeStride
    let cut = tile.pointer.assumingMemoryBound(to: Float.self)
    let predicted = prediction.pointer.assumingMemoryBound(to: Float.self)
    let map = importance.pointer.assumingMemoryBound(to: Float.self)
    let source = input, sums = logits
    let grain = 128
    let blocks = (tileRows + grain - 1) / grain
    for mirroring in mirrorings {
      try progress.open()
      for channel in 0..<channels {
        TileArithmetic.cut(
          source + channel * stride, width: width, top: top, left: left, tileRows: tileRows, tileColumns: tileColumns, mirroring,
          into: cut + channel * count)
      }
      try network.logits(tile: cut, height: tileRows, width: tileColumns, into: predicted, control: progress.control)
      pool.forEach(classes * blocks) { index in
        let head = index / blocks
        let first = index % blocks * grain
        TileArithmetic.add(
          predicted + head * count, weights: map, tileRows: tileRows, tileColumns: tileColumns,
          rows: first..<min(first + grain, tileRows), mirroring, to: sums + head * stride, width: width, top: top, left: left)
      }
    }
  }

  private func finish() throws(MedDINOError) {
    let sums = logits, weights = weights.pointer.assumingMemoryBound(to: Float.self)
    let stride = planeStride
    let count = Float(networks.count * mirrorings.count)
    let window = window
    let broken = Flag()
    pool.forEach(classes) { head in
      if !TileArithmetic.finish(sums + head * stride, weights: weights, count: count, rows: window.rows, columns: window.columns) {
        broken.raise()
      }
    }
    if broken.isRaised {
      throw .invalid("the network gave logits that are NaN or infinite: its weights or the image values are far out of range")
    }
  }

  private func addWeights() {
    let map = importance.pointer.assumingMemoryBound(to: Float.self)
    let out = weights.pointer.assumingMemoryBound(to: Float.self)
    out.update(repeating: 0, count: planeStride)
    let width = window.columns.paddedSize
    for top in window.rows.starts {
      for left in window.columns.starts {
        for row in 0..<window.rows.tile {
          let target = out + (top + row) * width + left
          let source = map + row * window.columns.tile
          for column in 0..<window.columns.tile { target[column] += source[column] }
        }
      }
    }
  }
}
