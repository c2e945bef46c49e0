// URLs as they may be shown: in a query, a user or a fragment there may be a secret.

const hidden = 'REDACTED'

/**
 * The URL with every value of its query hidden, and without user, password and fragment. The names of
 * the query stay; what has no name is hidden whole, and so is what is no http or https URL.
 */
export function redactUrl(url: string): string {
  if (!URL.canParse(url)) return hidden
  const { protocol, host, pathname, search } = new URL(url)
  if (protocol !== 'http:' && protocol !== 'https:') return `${protocol}${hidden}`
  const pairs = search.slice(1).split('&').map(redactPair).join('&')
  return `${protocol}//${host}${pathname}${search === '' ? '' : `?${pairs}`}`
}

/** Whether something was hidden in what is shown: with that nobody can ask again. */
export function isRedacted(shown: object): boolean {
  return JSON.stringify(shown).includes(hidden)
}

function redactPair(pair: string): string {
  if (pair === '') return ''
  const end = pair.indexOf('=')
  return end < 0 ? hidden : `${pair.slice(0, end)}=${hidden}`
}
