import Glibc
import Platform
import WeightFiles

/// What a person at a terminal sees while the program works.
enum Terminal {
  static let errorIsTerminal = isatty(STDERR_FILENO) == 1
  nonisolated(unsafe) private static var barIsShown = false

  static func finishProgress() {
    if barIsShown { writeError("\r\u{1b}[K") }
    barIsShown = false
  }

  /// A run that draws a bar with the time left, and stops cleanly on Ctrl-C.
  static func control(quiet: Bool) -> RunControl {
    Interrupt.install()
    let start = monotonicSeconds()
    nonisolated(unsafe) var last = 0.0
    nonisolated(unsafe) var before = (fraction: 0.0, time: start)
    nonisolated(unsafe) var skipped = 0.0
    return RunControl { fraction, stage in
      if Interrupt.isRequested { return false }
      guard errorIsTerminal, !quiet else { return true }
      let now = monotonicSeconds()
      // What an earlier run has done comes as a leap: it says nothing about the speed of this one.
      if fraction - before.fraction > 0.1, now - before.time < 1 { skipped += fraction - before.fraction }
      before = (fraction, now)
      guard now - last > 0.1 else { return true }
      last = now
      draw(fraction, stage, done: fraction - skipped, elapsed: now - start)
      return true
    }
  }

  private static func draw(_ fraction: Double, _ stage: String, done: Double, elapsed: Double) {
    let width = 30
    let filled = Int(fraction * Double(width))
    let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
    var text = "\r\(bar) \(Int(fraction * 100))% \(stage)"
    if done > 0.03, elapsed > 2 { text += "  \(duration(elapsed * (1 - fraction) / done)) left" }
    writeError(text + "\u{1b}[K")
    barIsShown = true
  }

  /// "1 h 02 min", "3 min 20 s", "8 s".
  static func duration(_ seconds: Double) -> String {
    let total = Int(seconds.rounded())
    if total >= 3600 { return "\(total / 3600) h \(total % 3600 / 60) min" }
    return total >= 60 ? "\(total / 60) min \(total % 60) s" : "\(total) s"
  }
}

/// Text on standard error, unbuffered.
func writeError(_ text: String) {
  var text = text
  text.withUTF8 { bytes in _ = write(STDERR_FILENO, bytes.baseAddress, bytes.count) }
}

/// A result for programs on standard output: standard JSON, undefined numbers as null.
func printJSON(_ value: JSON, indent: Int? = 2) { print(value.standardText(indent: indent)) }

/// A number for people, with a dash where it is undefined.
func decimal(_ value: Double, _ digits: Int) -> String { value.isFinite ? DecimalText.fixed(value, digits: digits) : "–" }

/// "2026-03-01 14:05 UTC".
func utcNow() -> String {
  var seconds = time(nil)
  var parts = tm()
  gmtime_r(&seconds, &parts)
  func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
  return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) \(two(parts.tm_hour)):\(two(parts.tm_min)) UTC"
}

/// One line on standard error.
func note(_ text: String) {
  Terminal.finishProgress()
  writeError(text + "\n")
}

/// Ctrl-C and SIGTERM ask the run to stop; a second one ends the program.
enum Interrupt {
  nonisolated(unsafe) private static var flag: sig_atomic_t = 0
  static var isRequested: Bool { flag != 0 }

  static func install() {
    for number in [SIGINT, SIGTERM] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = { number in
        if Interrupt.flag != 0 { _exit(130) }
        Interrupt.flag = 1
      }
      sigaction(number, &action, nil)
    }
  }
}

/// The largest memory this process has had resident, in bytes.
func peakResidentBytes() -> Int {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return usage.ru_maxrss * 1024
}
