extension Primus.Configuration {
  /// Four taps at the ends of equal parts of the network, as MedDINOv3's 2, 5, 8, 11 of 12; fewer for very shallow ones.
  public static func evenTaps(depth: Int) -> [Int] {
    let count = min(4, max(depth, 1))
    return (1...count).map { $0 * depth / count - 1 }
  }
}
