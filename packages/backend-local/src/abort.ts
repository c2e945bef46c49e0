// A call into the kernel can not be taken back: who no longer wants to wait leaves it behind.

/** Settles as `work` does, or rejects with the reason of `signal` as soon as that is aborted. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return work
  return new Promise((resolve, reject) => {
    const leave = (): void => reject(signal.reason)
    // Before the check of `aborted`, so that the failure of work left behind is never unhandled.
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', leave))
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave, { once: true })
  })
}
