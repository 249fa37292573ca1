internal import Platform
internal import WeightFiles

/// Moving average of a score over epochs: the first value, then 0.9 · average + 0.1 · value. Source: pipeline specification 9.
public struct MovingScore: Equatable, Sendable {
  public private(set) var average: Double?
  public var momentum = 0.9
  /// An epoch without a score (NaN: no class occurred) makes the official average NaN for good; when true it is passed over.
  public var skipsUndefined: Bool
  public init(average: Double? = nil, skipsUndefined: Bool = false) {
    self.average = average
    self.skipsUndefined = skipsUndefined
  }

  /// Returns the average with this score; NaN when there is none yet.
  @discardableResult
  public mutating func add(_ score: Double) -> Double {
    if score.isNaN, skipsUndefined { return average ?? .nan }
    average = average.map { momentum * $0 + (1 - momentum) * score } ?? score
    return average ?? score
  }
}

/// The best score so far, and the wish to stop when it has not improved for a number of epochs.
public struct EarlyStop: Equatable, Sendable {
  /// Epochs without improvement after which the run stops; nil never.
  public var patience: Int?
  public private(set) var best: Double?
  public private(set) var epochsSinceBest = 0
  public init(patience: Int? = nil) { self.patience = patience }

  /// Notes one epoch's score (the moving average of the Dice); true when it is strictly better than all before. NaN never is.
  public mutating func isBest(_ score: Double) -> Bool {
    if !score.isNaN, best.map({ score > $0 }) ?? true {
      best = score
      epochsSinceBest = 0
      return true
    }
    epochsSinceBest += 1
    return false
  }

  public var shouldStop: Bool { patience.map { epochsSinceBest >= $0 } ?? false }

  /// For checkpoints; the patience is an option of the run and not part of it.
  var state: JSON {
    .object(("best", best.map(JSON.number) ?? .null), ("epochs_since_best", .integer(epochsSinceBest)))
  }
  /// Takes over the position of an earlier run. False when the JSON is none.
  mutating func restore(_ json: JSON) -> Bool {
    guard let count = CheckpointState.count(json["epochs_since_best"]), let value = json["best"] else { return false }
    guard value.isNull || value.doubleValue != nil else { return false }
    best = value.doubleValue
    epochsSinceBest = count
    return true
  }
}

/// Seconds that this call may take. The run stops after the step or epoch in which they are used up, and saves.
public struct TimeBudget: Sendable {
  /// nil: no limit.
  public let seconds: Double?
  private let start = monotonicSeconds()
  public init(seconds: Double?) { self.seconds = seconds }
  public var elapsed: Double { monotonicSeconds() - start }
  public var isSpent: Bool { seconds.map { elapsed >= $0 } ?? false }
}
