internal import Glibc

/// The factor on every learning rate of an epoch: polynomial decay, linear by default, after an optional warm-up.
///
/// Epoch 0 without warm-up has the full rate, the last epoch a small positive one.
/// Source: model specification 4.2, pipeline specification 9 (power 1); power 0.9 is the base trainers' schedule.
public struct PolynomialDecay: Equatable, Sendable {
  public var epochs: Int
  public var power: Double
  public var warmupEpochs: Int
  /// The rate that the warm-up's formula is written for: the decoder's, for every group.
  public var baseLearningRate: Double
  /// Where the warm-up starts. Units: learning rate.
  static let warmupStart = 1e-6

  public init(epochs: Int, power: Double = 1, warmupEpochs: Int = 0, baseLearningRate: Double = 3e-4) {
    self.epochs = epochs
    self.power = power
    self.warmupEpochs = warmupEpochs
    self.baseLearningRate = baseLearningRate
  }

  /// From epoch `epochs` on 0.
  public func factor(epoch: Int) -> Double {
    if epoch < warmupEpochs {
      let rate = Self.warmupStart + (baseLearningRate - Self.warmupStart) * Double(epoch) / Double(warmupEpochs)
      return rate / baseLearningRate
    }
    let length = max(epochs - warmupEpochs, 1)
    let left = max(0, 1 - Double(epoch - warmupEpochs) / Double(length))
    return power == 1 ? left : pow(left, power)
  }
}
