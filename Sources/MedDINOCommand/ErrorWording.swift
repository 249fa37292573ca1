import Platform

extension MedDINOError {
  /// The message for a person at the command line: the library names arguments of its own and keys of settings, here they are options.
  var wording: String {
    let text = message.replacing("(max_bytes)", with: "(--max-memory)")
    for (name, option) in Self.arguments {
      // An argument begins a message, or what follows the file or case that it is about; elsewhere the words are those of a person.
      if text.hasPrefix(name) { return option + text.dropFirst(name.count) }
      if let place = text.firstRange(of: ": " + name) { return "\(text[..<place.lowerBound]): \(option)\(text[place.upperBound...])" }
    }
    return text
  }

  /// Beginnings of messages, with the options that they are about.
  private static let arguments = [
    ("body_crop is on", "--body-crop is given"),
    ("checkpoint is \"", "--checkpoint is \""),
    ("configuration is \"", "--configuration is \""),
    ("configuration is not named", "--configuration is not given"),
    ("fileEnding is ", "--ending is "),
    ("folds and checkpoint choose", "--folds and --checkpoint choose"),
    ("gram.ckpt is missing", "--previous is not given, nor gram.ckpt in --config"),
    ("input_size is ", "--size is "),
    ("labelCount is ", "--organs is "),
    ("last_blocks is ", "BLOCKS of --adapt last:BLOCKS is "),
    ("lora_alpha is ", "ALPHA of --adapt lora:RANK:ALPHA is "),
    ("lora_rank is ", "RANK of --adapt lora:RANK is "),
    ("matrix is ", "x of --size is "),
    ("missingChance is ", "--missing is "),
    ("roi is ", "--roi is "),
    ("rope is ", "--rope is "),
    ("testCases is ", "--test-cases is "),
    ("tile_step is ", "--step is "),
  ]
}
