//! Tests of `queue`: places go round, waiters are served in their order, and nobody is lost.

#![allow(clippy::unwrap_used)]
use futures_util::{FutureExt as _, poll};

use super::*;

fn status(max_size: usize, size: usize, available: usize, waiting: usize) -> Status {
    Status { max_size, size, available, waiting }
}

async fn filled(queue: &Arc<Queue<u32>>, item: u32) -> Place<u32> {
    let mut place = queue.take().await.unwrap();
    place.fill(item);
    place
}

#[tokio::test]
async fn the_last_one_given_back_is_lent_first() {
    let queue = Queue::new(2, |_| true);
    let (first, second) = (filled(&queue, 1).await, filled(&queue, 2).await);
    drop(second);
    drop(first);
    assert_eq!(queue.status(), status(2, 2, 2, 0));
    assert_eq!(queue.take_idle().unwrap().item(), Some(&1));
}

#[tokio::test]
async fn one_that_suits_is_lent_before_others_but_any_is_lent() {
    let queue = Queue::new(3, |item| item % 2 == 0);
    let held = (filled(&queue, 1).await, filled(&queue, 2).await, filled(&queue, 3).await);
    drop(held);
    let lent = [queue.take_idle().unwrap(), queue.take().await.unwrap(), queue.take_idle().unwrap()];
    assert_eq!(lent.map(|place| place.item().copied()), [Some(2), Some(3), Some(1)]);
}

#[tokio::test]
async fn who_came_first_is_served_first() {
    let queue = Queue::new(1, |_| true);
    let held = filled(&queue, 7).await;
    let mut first = Box::pin(queue.take());
    let mut second = Box::pin(queue.take());
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    assert_eq!(queue.status(), status(1, 1, 0, 2));
    drop(held);
    assert!(queue.take_idle().is_none(), "it is passed on, not left for whoever comes");
    assert!(poll!(&mut second).is_pending());
    let place = first.await.unwrap();
    assert_eq!(place.item(), Some(&7));
    drop(place);
    assert_eq!(second.await.unwrap().item(), Some(&7));
}

/// What those get who wait: one that came on another thread, then nine on this one.
fn turns(suits: fn(&u32) -> bool) -> Vec<usize> {
    let queue = Queue::new(1, suits);
    let mut held = queue.take().now_or_never().unwrap().unwrap();
    held.fill(7);
    let mut waiting: Vec<_> = (0..10).map(|_| Box::pin(queue.take())).collect();
    let (other, own) = waiting.split_first_mut().unwrap();
    std::thread::scope(|scope| scope.spawn(|| assert!(other.now_or_never().is_none())).join().unwrap());
    for own in own {
        assert!(own.now_or_never().is_none());
    }
    drop(held);
    let mut turns = Vec::new();
    while turns.len() < 10 {
        // Dropped at once: the next one gets it.
        let served = waiting.iter_mut().enumerate().filter(|(at, _)| !turns.contains(at)).find_map(|(at, turn)| {
            let place = turn.now_or_never()?;
            Some((at, place.unwrap()))
        });
        turns.push(served.unwrap().0);
    }
    turns
}

#[test]
fn who_is_on_the_same_thread_goes_first_but_not_for_ever() {
    assert_eq!(turns(|_| true), [1, 2, 3, 4, 5, 6, 7, 8, 0, 9]);
    assert_eq!(turns(|_| false), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "it is not on this thread");
}

#[tokio::test]
async fn a_place_emptied_lets_the_next_in_line_fill_it() {
    let queue = Queue::new(1, |_| true);
    let mut held = filled(&queue, 7).await;
    let mut next = Box::pin(queue.take());
    assert!(poll!(&mut next).is_pending());
    assert_eq!(held.empty(), Some(7));
    drop(held);
    let place = next.await.unwrap();
    assert_eq!(place.item(), None);
    assert_eq!(queue.status(), status(1, 1, 0, 0));
    drop(place);
    assert_eq!(queue.status(), status(1, 0, 0, 0));
}

/// Before its turn, and between its turn and its waking.
#[tokio::test]
async fn who_goes_while_waiting_loses_nothing() {
    for passed_on in [false, true] {
        for with_item in [false, true] {
            let queue = Queue::new(1, |_| true);
            let mut held = Some(queue.take().await.unwrap());
            if with_item {
                held.as_mut().unwrap().fill(7);
            }
            let mut gone = Box::pin(queue.take());
            let mut stays = Box::pin(queue.take());
            assert!(poll!(&mut gone).is_pending() && poll!(&mut stays).is_pending());
            if passed_on {
                drop(held.take());
            }
            drop(gone);
            drop(held);
            assert_eq!(stays.await.unwrap().item().copied(), with_item.then_some(7));
            assert_eq!(queue.status(), status(1, usize::from(with_item), usize::from(with_item), 0));
        }
    }
}

#[tokio::test]
async fn those_who_have_gone_do_not_fill_the_queue() {
    let queue = Queue::new(1, |_| true);
    let held = filled(&queue, 7).await;
    for _ in 0..10_000 {
        assert!(queue.take().now_or_never().is_none());
    }
    assert!(queue.state().waiting.len() < 100);
    assert_eq!(queue.status(), status(1, 1, 0, 0));
    drop(held);
    assert_eq!(queue.status(), status(1, 1, 1, 0));
}

#[tokio::test]
async fn closing_ends_every_wait_and_takes_back_what_is_lent() {
    let queue = Queue::new(2, |_| true);
    let (held, idle) = (filled(&queue, 1).await, filled(&queue, 2).await);
    let mut waits = Box::pin(queue.take());
    assert!(poll!(&mut waits).is_pending());
    drop(idle);
    let idle = waits.await.unwrap();
    let mut waits = Box::pin(queue.take());
    assert!(poll!(&mut waits).is_pending());
    queue.close();
    assert_eq!(waits.await.unwrap_err(), Closed);
    assert!(queue.take().await.is_err() && queue.take_free().is_none());
    drop((held, idle));
    assert_eq!(queue.status(), status(2, 0, 0, 0));
}

#[tokio::test]
async fn what_is_idle_from_call_to_call_can_be_taken_out() {
    let queue = Queue::new(3, |_| true);
    let places = (filled(&queue, 1).await, filled(&queue, 2).await, filled(&queue, 3).await);
    drop(places);
    assert!(queue.retain(|_, idle| idle == Duration::ZERO).is_empty(), "none is known to be idle yet");
    drop(queue.take_idle());
    let then = Instant::now();
    while Instant::now() == then {}
    let gone = queue.retain(|_, idle| idle == Duration::ZERO);
    assert_eq!(gone, [1, 2], "the one lent meanwhile is not idle for long");
    assert_eq!(queue.status(), status(3, 1, 1, 0));
}

/// Threads that take, fill, empty and give back, and tasks that give up at any moment: nothing is lost, nothing is lent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn places_are_neither_lost_nor_doubled() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let queue = Queue::new(3, |_| true);
    let lent = Arc::new(AtomicUsize::new(0));
    let tasks = (0..20u32).map(|task| {
        let (queue, lent) = (queue.clone(), lent.clone());
        tokio::spawn(async move {
            for turn in 0..200u32 {
                let mut taking = Box::pin(queue.take());
                let mut place = match poll!(&mut taking) {
                    std::task::Poll::Pending if (task + turn) % 3 == 0 => {
                        tokio::task::yield_now().await;
                        continue;
                    }
                    std::task::Poll::Pending => taking.await.unwrap(),
                    std::task::Poll::Ready(place) => place.unwrap(),
                };
                assert!(lent.fetch_add(1, Ordering::SeqCst) < 3);
                if place.item().is_none() {
                    place.fill(task);
                }
                tokio::task::yield_now().await;
                if turn % 5 == 0 {
                    assert!(place.empty().is_some());
                }
                lent.fetch_sub(1, Ordering::SeqCst);
                drop(place);
            }
        })
    });
    futures_util::future::join_all(tasks.collect::<Vec<_>>()).await.into_iter().for_each(|done| done.unwrap());
    let Status { size, available, waiting, .. } = queue.status();
    assert!(size == available && size <= 3 && waiting == 0);
}
