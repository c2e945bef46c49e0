// A listener to the events of one server: what it was told of which image, and when.

import http from 'node:http'

export class Feed {
  #events = new Map()
  #isAlive
  #journal
  #outgoing
  #url
  /** Since when nothing can have been missed. */
  openedAt = Infinity
  closedAt = Infinity

  /** `isAlive` tells whether the server is meant to run. */
  constructor(url, isAlive, journal) {
    this.#url = url
    this.#isAlive = isAlive
    this.#journal = journal
    this.opened = this.#open()
  }

  #open() {
    return new Promise((resolve) => {
      this.#outgoing = http.get(`${this.#url}/v1/events`, { agent: false }, (incoming) => {
        this.openedAt = performance.now()
        resolve()
        let text = ''
        incoming.setEncoding('utf8')
        incoming.on('data', (chunk) => {
          const parts = `${text}${chunk}`.split('\n\n')
          text = parts.pop()
          for (const part of parts) this.#take(part)
        })
        incoming.on('error', () => {})
        incoming.on('close', () => this.#ended())
      })
      this.#outgoing.on('error', () => {
        this.#ended()
        resolve()
      })
    })
  }

  #take(text) {
    const [, kind, data] = /^event: (\w+)\ndata: (.*)$/s.exec(text) ?? []
    if (kind === undefined) return
    const { name, version, uuid, state, processedSize } = JSON.parse(data)
    const events = this.#events.get(name) ?? []
    this.#events.set(name, events)
    events.push({ kind, version, uuid, state, processedSize, at: performance.now() })
  }

  #ended() {
    if (this.closedAt !== Infinity) return
    this.closedAt = performance.now()
    if (this.#isAlive()) this.#journal.fault('', `The events of ${this.#url} ended.`)
  }

  /** When it was first told of something since then; undefined when never. */
  firstAt(name, sinceAt, isMeant) {
    const events = this.#events.get(name) ?? []
    return events.find((event) => event.at >= sinceAt && isMeant(event))?.at
  }

  /** The last that it was told before then; undefined when nothing. */
  last(name, beforeAt, isMeant) {
    const events = this.#events.get(name) ?? []
    return events.findLast((event) => event.at < beforeAt && isMeant(event))
  }

  close() {
    this.closedAt = Math.min(this.closedAt, performance.now())
    this.#outgoing.destroy()
  }
}
