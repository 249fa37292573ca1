public import CMedDINO
internal import Platform

// include/meddino.h, section 9: meddino_train_options.

@c @implementation public func meddino_train_options_init(_ options: UnsafeMutablePointer<meddino_train_options>?, _ size: Int) {
  initialize(options, size, meddino_train_options())
}

/// The caller's options, checked and copied.
struct ParsedTraining: Sendable {
  private(set) var settings: String?
  private(set) var maxBytes: Int?
  private(set) var watch = Watch()

  init(_ pointer: UnsafePointer<meddino_train_options>?) throws(MedDINOError) {
    guard let pointer else { return }
    let o = try read(pointer, "options", defaults: meddino_train_options())
    if let json = o.settings_json { settings = try settingsText(json, "options.settings_json") }
    if o.max_bytes > 0 { maxBytes = Int(clamping: o.max_bytes) }
    watch = try Watch(o.progress, o.progress_user, o.cancel)
  }

  /// For calls without settings of their own. Throws: `.invalid`.
  func withoutSettings(_ what: String) throws(MedDINOError) -> ParsedTraining {
    guard settings == nil else { throw .invalid("options.settings_json is set, expected NULL: \(what)") }
    return self
  }
}
