public import Platform

/// Operations of self-distillation: what pretraining needs of a device beyond training a network.
///
/// Tensors are float32, sums over long rows end in double precision, and everything is split by shape alone. Shapes are the callers' duty,
/// as in `Device`.
public protocol DistillationDevice: Device {
  /// output = x / max(‖x‖, epsilon) for every row of the last axis; the output may be the input.
  func normalizeRows(_ input: Tensor, epsilon: Float, into output: Tensor)
  /// Of `normalizeRows`: the input's gradient is added to, and must not be `gradient`.
  func normalizeRowsBackward(_ input: Tensor, epsilon: Float, gradient: Tensor, addingTo inputGradient: Tensor)

  /// Assigns samples to prototypes so that all prototypes are used alike: exp(logits / temperature), then `iterations` times columns and
  /// rows made to sum to 1 / prototypes and 1 / samples. Every row of the output sums to 1.
  ///
  /// Shapes: logits and output [samples, prototypes]; the output may be the logits. Exponents above 60 are lowered together, which changes
  /// nothing but that large logits do not overflow; a prototype that no sample reaches stays empty.
  /// `ranks`: samples are those of all ranks together, each giving its own; a rank may have none.
  /// Throws: `.outOfMemory`, `.state`. Source: Caron et al., arXiv:2006.09882, algorithm 1; model specification 8.1.
  func sinkhorn(
    _ logits: Tensor, temperature: Float, iterations: Int, into output: Tensor, ranks: any Communicator
  ) throws(MedDINOError)

  /// Mean of −Σₖ p(k) · ln p(k) over at most `limit` rows of probabilities [samples, prototypes], spread evenly over them. Units: nats.
  ///
  /// Probabilities up to 1e-12 count as 0: of a row of n they are less than 28e-12 · n.
  func meanEntropy(_ rows: Tensor, limit: Int) -> Double

  /// Σ over rows r and their target rows t of weight(r) · (−Σₖ target(t, k) · ln softmax(logits(r) / temperature)ₖ) and, when `gradient` is
  /// given, its gradient with respect to the logits, multiplied by `scale`.
  ///
  /// Shapes: logits and gradient [rows, prototypes], targets [samples, prototypes]. The gradient may be the logits.
  /// Source: model specification 8.2, 8.3.
  func softCrossEntropy(
    _ logits: Tensor, targets: Tensor, pairs: TargetPairs, temperature: Float, scale: Float, gradient: Tensor?
  ) throws(MedDINOError) -> Double

  /// The Kozachenko-Leonenko regulariser of rows [samples, dim] and, when `gradient` is given, its gradient (written), multiplied by
  /// `scale`.
  /// Throws: `.outOfMemory`. Source: Sablayrolles et al., arXiv:1806.03198; model specification 8.6.
  func koLeo(_ rows: Tensor, _ options: KoLeoOptions, scale: Float, gradient: Tensor?) throws(MedDINOError) -> Double

  /// Mean squared difference of the Gram matrices of student and teacher tokens [images, tokens, dim] and, when `gradient` is given, its
  /// gradient with respect to the student (written), multiplied by `scale`. Never a whole Gram matrix of a batch.
  /// Throws: `.outOfMemory`. Source: Siméoni et al., arXiv:2508.10104, section 4; model specification 8.4.
  func gramLoss(
    _ student: Tensor, teacher: Tensor, _ options: GramOptions, scale: Float, gradient: Tensor?
  ) throws(MedDINOError) -> Double

  /// Resizes a grid of tokens [images, rows · columns, dim] to [images, toRows · toColumns, dim]: bicubic (a = −0.75), half-pixel centres,
  /// taps clamped to the grid, not widened when the grid shrinks. Source: model specification 8.4.
  func resizeTokens(_ tokens: Tensor, rows: Int, columns: Int, toRows: Int, toColumns: Int, into output: Tensor)
}

extension DistillationDevice {
  /// The same for the samples of this process alone.
  public func sinkhorn(_ logits: Tensor, temperature: Float, iterations: Int, into output: Tensor) throws(MedDINOError) {
    try sinkhorn(logits, temperature: temperature, iterations: iterations, into: output, ranks: SoloCommunicator())
  }
}

/// Which target rows each row of logits is compared with, and the row's weight.
public struct TargetPairs: Equatable, Sendable {
  public var targets: [[Int]]
  public var weights: [Double]
  public init(targets: [[Int]], weights: [Double]) {
    precondition(targets.count == weights.count)
    self.targets = targets
    self.weights = weights
  }

  /// Student crops [students · batch] against teacher crops [teachers · batch], both crop-major; with `ignoreDiagonal` crops of the same
  /// index are left out. Throws: `.invalid` when no pair is left. Source: model specification 8.2.
  public static func crops(students: Int, teachers: Int, batch: Int, ignoreDiagonal: Bool) throws(MedDINOError) -> TargetPairs {
    let pairs = students * teachers - (ignoreDiagonal ? min(students, teachers) : 0)
    guard students > 0, teachers > 0, batch > 0, pairs > 0 else {
      throw .invalid("\(students) student and \(teachers) teacher crops of \(batch) images, expected at least one pair of different crops")
    }
    var targets: [[Int]] = []
    for crop in 0..<students {
      let others = (0..<teachers).filter { !ignoreDiagonal || $0 != crop }
      for image in 0..<batch { targets.append(others.map { $0 * batch + image }) }
    }
    return TargetPairs(targets: targets, weights: [Double](repeating: 1 / Double(batch * pairs), count: targets.count))
  }

  /// Masked patches, each against the teacher's patch at the same place. `weights`: one over the number of masked patches in its image.
  /// The sum is divided by all `images`, masked or not. Source: model specification 8.3.
  public static func patches(weights: [Float], images: Int) -> TargetPairs {
    TargetPairs(targets: weights.indices.map { [$0] }, weights: weights.map { Double($0) / Double(max(images, 1)) })
  }
}

/// Which neighbours the regulariser looks at.
public struct KoLeoOptions: Equatable, Sendable {
  /// Nearest neighbours of each row that are pushed away.
  public var neighbours = 1
  /// Neighbours are looked for among so many consecutive rows; nil: among all.
  public var groupSize: Int?
  public init(neighbours: Int = 1, groupSize: Int? = nil) {
    self.neighbours = neighbours
    self.groupSize = groupSize
  }
}

/// Form of the Gram loss.
public struct GramOptions: Equatable, Sendable {
  /// Tokens are L2-normalised first: similarities instead of products.
  public var normalized = true
  /// One Gram matrix per image, or one of all tokens of the batch.
  public var imageLevel = true
  /// Negative similarities of both count as 0.
  public var removeNegative = false
  /// Negative similarities of the teacher alone count as 0.
  public var removeTeacherNegative = false
  public init() {}
}
