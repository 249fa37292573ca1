public import Platform

/// How the intensities of a channel are brought to the range that the network was trained on.
///
/// Source: pipeline specification 3.4, 4.4.
public enum NormalizationScheme: String, Sendable, CaseIterable {
  /// Clip to the training set's percentiles, then subtract its mean and divide by its standard deviation.
  case ct = "CTNormalization"
  /// Subtract the case's mean and divide by its standard deviation.
  case zScore = "ZScoreNormalization"
  case none = "NoNormalization"
  /// From the case's minimum and maximum to 0 and 1.
  case rescale01 = "RescaleTo01Normalization"
  /// From 0...255 to 0...1.
  case rgb01 = "RGBTo01Normalization"

  /// Throws: `.unsupported` for a class that we do not know.
  public init(className: String) throws(MedDINOError) {
    guard let scheme = NormalizationScheme(rawValue: className) else {
      let known = NormalizationScheme.allCases.map(\.rawValue).joined(separator: ", ")
      throw .unsupported("normalization_schemes holds \"\(className)\", expected one of \(known)")
    }
    self = scheme
  }

  /// The scheme that planning chooses for a channel of this name.
  public init(channelName: String) {
    switch channelName.lowercased() {
    case "ct": self = .ct
    case "nonorm": self = .none
    case "rescale_to_0_1": self = .rescale01
    case "rgb_to_0_1": self = .rgb01
    default: self = .zScore
    }
  }
}
