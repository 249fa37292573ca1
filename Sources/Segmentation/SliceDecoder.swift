internal import Platform
internal import Tensors

/// From the logits of a prepared slice to label values (and probabilities) of the cropped slice.
///
/// Source: pipeline specification 10.9, 10.10; ties go to the first class, a region is on where its logit is above 0.
final class SliceDecoder {
  let rows: Int
  let columns: Int
  private let scheme: LabelScheme
  private let resampling: PlaneResampling
  private let pool: ThreadPool
  private let lanes: Int
  private let laneBytes: Int
  /// nil when the slice was not resampled: then the segmenter's planes serve.
  private let planes: Tensor?
  private let scratch: Buffer
  private let best: Tensor
  private let sum: Tensor?
  private let values: Tensor
  private let headValues: Tensor
  private let allowed: Tensor
  /// The planes of the last `decode` (probabilities when asked for) and their distance in floats.
  private(set) var scores: UnsafeMutablePointer<Float>
  private(set) var scoreStride = 0

  init(
    scheme: LabelScheme, resampling: PlaneResampling, subset: [Int]?, probabilities: Bool, pool: ThreadPool,
    in budget: MemoryBudget
  ) throws(MedDINOError) {
    self.scheme = scheme
    self.resampling = resampling
    self.pool = pool
    rows = resampling.toRows
    columns = resampling.toColumns
    let classes = scheme.heads.count
    lanes = max(1, min(pool.width, classes))
    laneBytes = try (resampling.scratchByteCount() + 63) / 64 * 64
    scratch = try budget.allocate(Checked.product([lanes, laneBytes], "resampling scratch", kind: .shape), "resampling scratch")
    planes = resampling.isCopy ? nil : try Tensor([classes, rows, columns], in: budget, "resampled logits")
    best = try Tensor([rows, columns], in: budget, "largest logits")
    sum = probabilities ? try Tensor([rows, columns], in: budget, "probability sums") : nil
    values = try Tensor([rows, columns], .int32, in: budget, "slice labels")
    headValues = try Tensor([classes], .int32, in: budget, "label values")
    allowed = try Tensor([scheme.largestOutput + 1], .uint8, in: budget, "label subset")
    scores = best.pointer.assumingMemoryBound(to: Float.self)
    for (head, output) in scheme.heads.enumerated() { headValues.elements(Int32.self)[head] = Int32(truncatingIfNeeded: output.value) }
    for value in 0...scheme.largestOutput { allowed.elements(UInt8.self)[value] = subset?.contains(value) ?? true ? 1 : 0 }
  }

  /// Bytes that the buffers take.
  static func byteCount(
    scheme: LabelScheme, resampling: PlaneResampling, probabilities: Bool, pool: ThreadPool
  ) throws(MedDINOError) -> Int {
    let classes = scheme.heads.count
    let lane = try (resampling.scratchByteCount() + 63) / 64 * 64
    let scratch = try Checked.product([max(1, min(pool.width, classes)), lane], "resampling scratch", kind: .shape)
    let perPixel = (resampling.isCopy ? 0 : classes * 4) + 8 + (probabilities ? 4 : 0)
    let planes = try Checked.product([resampling.toRows, resampling.toColumns, perPixel], "resampled logits", kind: .shape)
    let tables = classes * 4 + scheme.largestOutput + 1
    return try Checked.sum(scratch + tables, planes, "resampled logits", kind: .shape)
  }

  /// The label values of the last `decode`. Shapes: [rows, columns].
  var labels: UnsafeMutablePointer<Int32> { values.pointer.assumingMemoryBound(to: Int32.self) }

  /// Decodes the given rows (and, for their columns, whole rows) of the slice. `logits` planes are overwritten when not resampled.
  func decode(_ logits: UnsafeMutablePointer<Float>, planeStride: Int, rows wanted: Range<Int>, probabilities: Bool) {
    resample(logits, planeStride)
    let labels = labels, scores = scores, stride = scoreStride, columns = columns
    let largest = best.pointer.assumingMemoryBound(to: Float.self)
    let sums = sum?.pointer.assumingMemoryBound(to: Float.self)
    let classes = scheme.heads.count
    let heads = headValues.elements(Int32.self)
    let allowed = allowed.elements(UInt8.self)
    let hasRegions = scheme.hasRegions
    pool.forBlocks(of: wanted.count, grain: 16) { block in
      for row in block {
        let at = (wanted.lowerBound + row) * columns
        let line = labels + at
        if hasRegions {
          Self.regions(scores + at, stride, heads, columns, into: line)
          if probabilities { TileArithmetic.sigmoid(scores + at, planeStride: stride, classes: classes, count: columns) }
        } else {
          TileArithmetic.argmax(
            scores + at, planeStride: stride, classes: classes, count: columns, best: largest + at, into: line)
          for i in 0..<columns { line[i] = heads[Int(line[i])] }
          if probabilities, let sums {
            TileArithmetic.softmax(
              scores + at, planeStride: stride, classes: classes, count: columns, largest: largest + at, sum: sums + at)
          }
        }
        for i in 0..<columns where allowed[Int(line[i])] == 0 { line[i] = 0 }
      }
    }
  }

  /// Later regions overwrite earlier ones.
  private static func regions(
    _ line: UnsafePointer<Float>, _ stride: Int, _ values: UnsafeMutableBufferPointer<Int32>, _ count: Int,
    into labels: UnsafeMutablePointer<Int32>
  ) {
    labels.update(repeating: 0, count: count)
    for head in 0..<values.count {
      let logits = line + head * stride
      let value = values[head]
      for i in 0..<count { labels[i] = logits[i] > 0 ? value : labels[i] }
    }
  }

  private func resample(_ logits: UnsafeMutablePointer<Float>, _ planeStride: Int) {
    guard let planes else {
      scores = logits
      scoreStride = planeStride
      return
    }
    let out = planes.pointer.assumingMemoryBound(to: Float.self)
    scores = out
    scoreStride = rows * columns
    let stride = scoreStride, classes = scheme.heads.count
    let scratch = scratch.pointer, laneBytes = laneBytes, lanes = lanes, resampling = resampling
    pool.forEach(lanes) { lane in
      for head in Swift.stride(from: lane, to: classes, by: lanes) {
        resampling.resample(
          logits + head * planeStride, clip: .none, into: out + head * stride, scratch: scratch + lane * laneBytes)
      }
    }
  }
}
