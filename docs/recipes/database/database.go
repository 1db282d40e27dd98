// Package database stores messages in a database, in batches, each of them once.
package database

import (
	"context"
	"database/sql"
	"encoding/json"
	"log"
	"time"

	"github.com/rdyhq/nsq"
	_ "modernc.org/sqlite" // the driver
)

// Open opens a database in a file, and creates what is missing.
func Open(ctx context.Context, file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", file+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	_, err = db.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS orders (number TEXT PRIMARY KEY, cents INTEGER NOT NULL)`)
	return db, err
}

// Store stores batches of orders.
type Store struct{ DB *sql.DB }

// HandleBatch stores a batch. When it returns nil, the messages are acked.
func (s Store) HandleBatch(ctx context.Context, batch []*nsq.Message) error {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	for _, m := range batch {
		var o struct {
			Number string
			Cents  int
		}
		if err := json.Unmarshal(m.Body, &o); err != nil {
			m.Answer(nsq.DeadLetter(err)) // this one only
			continue
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO orders VALUES (?, ?) ON CONFLICT DO NOTHING`, o.Number, o.Cents)
		if err != nil {
			return err // all are requeued
		}
	}
	return tx.Commit()
}

// Consume stores orders until ctx ends.
func Consume(ctx context.Context, cfg *nsq.Config, nsqd string, h nsq.BatchHandler) error {
	cfg.MaxInFlight = 2000 // the next batch arrives while one is stored
	consumer, err := nsq.NewConsumer("orders", "billing", cfg)
	if err != nil {
		return err
	}
	consumer.AddBatchHandler(h, nsq.BatchLimits{Messages: 1000, Wait: time.Second}, 1)
	if err := consumer.Connect(ctx, nsqd); err != nil {
		log.Print(err) // the Consumer keeps trying
	}
	return consumer.Run(ctx)
}
