/// Numbers that every MedDINOv3 trainer shares. Source: pipeline specification 9.
public enum FineTuningDefaults {
  public static let epochs = 1000
  public static let trainingIterations = 250
  public static let validationIterations = 50
  /// Share of a batch that must show foreground.
  public static let foregroundOversampling = 0.33
  /// Largest global norm of the gradient.
  public static let gradientClip = 12.0
}
