public import Platform

/// A network that turns a tile into logits: one member (fold) of a model.
///
/// Called from one thread at a time; it spreads its own work over its context's threads.
public protocol TileNetwork: AnyObject, Sendable {
  /// Number of logit planes.
  var classes: Int { get }
  /// Number of image planes.
  var inputChannels: Int { get }
  /// Shapes: `tile` [inputChannels, height, width], `logits` [classes, height, width], both dense.
  /// Throws: `.cancelled`, which it checks for at every block, and whatever the network throws.
  func logits(
    tile: UnsafePointer<Float>, height: Int, width: Int, into logits: UnsafeMutablePointer<Float>, control: RunControl
  ) throws(MedDINOError)
}
