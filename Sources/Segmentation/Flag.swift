internal import Synchronization

/// Something that parallel work may raise and its caller reads afterwards.
final class Flag: Sendable {
  private let state = Atomic<Bool>(false)
  func raise() { state.store(true, ordering: .relaxed) }
  var isRaised: Bool { state.load(ordering: .relaxed) }
}
