/// Linear decay of nnU-Net fine-tuning: the factor on every learning rate of an epoch. Source: pipeline specification 9.
public struct LinearDecay: Equatable, Sendable {
  public var epochs: Int
  public init(epochs: Int) { self.epochs = epochs }
  public func factor(epoch: Int) -> Double { 1 - Double(epoch) / Double(max(epochs, 1)) }
}
