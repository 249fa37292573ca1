public import CMedDINO
internal import MedDINO
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
  /// nil: fine-tuning.
  private(set) var stage: PretrainingStage?
  private(set) var gramTeacher: Model?

  init(_ pointer: UnsafePointer<meddino_train_options>?) throws(MedDINOError) {
    guard let pointer else { return }
    let o = try read(pointer, "options", defaults: meddino_train_options())
    if let json = o.settings_json { settings = try settingsText(json, "options.settings_json") }
    if o.max_bytes > 0 { maxBytes = Int(clamping: o.max_bytes) }
    watch = try Watch(o.progress, o.progress_user, o.cancel)
    stage = PretrainingStage(rawValue: Int(o.objective))
    guard stage != nil || o.objective == Int32(MEDDINO_FINETUNE) else {
      throw .invalid("options.objective is \(o.objective), expected MEDDINO_FINETUNE or MEDDINO_PRETRAIN_1 to 3")
    }
    guard let teacher = o.gram_teacher else { return }
    guard stage != nil, stage != .distillation else {
      throw .invalid("options.gram_teacher is set, which only MEDDINO_PRETRAIN_2 and MEDDINO_PRETRAIN_3 have")
    }
    gramTeacher = try object(teacher, "options.gram_teacher", ModelHandle.self).model
  }

  /// For calls that know what they train. Throws: `.invalid`.
  func withoutObjective(_ what: String) throws(MedDINOError) -> ParsedTraining {
    guard stage == nil, gramTeacher == nil else { throw .invalid("options.objective is set, expected 0: \(what)") }
    return self
  }

  /// For calls without settings of their own. Throws: `.invalid`.
  func withoutSettings(_ what: String) throws(MedDINOError) -> ParsedTraining {
    guard settings == nil else { throw .invalid("options.settings_json is set, expected NULL: \(what)") }
    return self
  }
}
