public import Pretraining
internal import Training

/// What one iteration of pretraining did; of an epoch: losses and norms are means over its iterations, the rest is that of the last one.
public struct PretrainingMetrics: Equatable, Sendable {
  /// Iterations made so far, and the epoch that the numbers belong to, from 0.
  public var step: Int
  public var epoch: Int
  public var losses: DistillationLosses
  /// Of all parts of the student together, before each is clipped by itself.
  public var gradientNorm: Double
  public var learningRate: Double
  public var lastLayerLearningRate: Double
  public var weightDecay: Double
  /// Of the teacher's moving average.
  public var momentum: Double
  public var teacherTemperature: Double
  public var seconds: Double

  init(_ report: DistillationTrainer.Report, seconds: Double, epochLength: Int) {
    step = report.iteration + 1
    epoch = report.iteration / epochLength
    losses = report.losses
    gradientNorm = report.norms.reduce(0) { $0 + $1.value * $1.value }.squareRoot()
    learningRate = report.rates.learningRate
    lastLayerLearningRate = report.rates.lastLayerLearningRate
    weightDecay = report.rates.weightDecay
    momentum = report.momentum
    teacherTemperature = report.teacherTemperature
    self.seconds = seconds
  }

  /// Of iterations in a row, at least one.
  static func mean(_ list: [PretrainingMetrics]) -> PretrainingMetrics? {
    guard var result = list.last else { return nil }
    func mean(_ value: (PretrainingMetrics) -> Double) -> Double { list.reduce(0) { $0 + value($1) } / Double(list.count) }
    /// Terms that some iterations did not have count where they are.
    func mean(_ value: (PretrainingMetrics) -> Double?) -> Double? {
      let values = list.compactMap(value)
      return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }
    result.losses.total = mean { $0.losses.total }
    result.losses.dinoLocal = mean { $0.losses.dinoLocal }
    result.losses.dinoGlobal = mean { $0.losses.dinoGlobal }
    result.losses.koLeo = mean { $0.losses.koLeo }
    result.losses.ibot = mean { $0.losses.ibot }
    result.losses.gram = mean { $0.losses.gram }
    result.losses.maskedGram = mean { $0.losses.maskedGram }
    result.losses.unmaskedGram = mean { $0.losses.unmaskedGram }
    result.losses.teacherEntropy = mean { $0.losses.teacherEntropy }
    result.losses.teacherPatchEntropy = mean { $0.losses.teacherPatchEntropy }
    result.gradientNorm = mean { $0.gradientNorm }
    result.seconds = list.reduce(0) { $0 + $1.seconds }
    return result
  }
}
